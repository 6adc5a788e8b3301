"""See what every attention head of a GPT-2 does, while it trains or once it is frozen."""
