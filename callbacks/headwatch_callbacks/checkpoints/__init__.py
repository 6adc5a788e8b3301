"""How questions are put to saved checkpoints."""
