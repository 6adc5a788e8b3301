"""What a head is, without intervening: attention patterns, copying, in-context learning, gradient importance."""
