"""What estimated head effects cost, how far off they are, and how often their intervals hold."""
