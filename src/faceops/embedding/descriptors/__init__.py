"""Descriptors of an aligned face that nobody has to learn: gradients, ripples, patterns."""
