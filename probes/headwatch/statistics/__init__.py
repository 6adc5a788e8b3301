"""What numbers over prompt pairs say about prompts like them."""
