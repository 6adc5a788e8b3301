"""What is asked: which activations are replaced, by what, on which prompts."""
