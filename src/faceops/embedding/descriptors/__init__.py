"""Descriptors of an aligned face that nobody has to learn: edges, patterns, patches."""
