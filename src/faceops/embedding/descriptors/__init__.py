"""Descriptors of an aligned face, by no knowledge of whose it is: edges, patterns, patches."""
