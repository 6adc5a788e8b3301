"""What a probe asks, in a form that any trainer can put to its model."""
