"""Lightning callbacks that watch every head of a GPT-2 while it trains."""
