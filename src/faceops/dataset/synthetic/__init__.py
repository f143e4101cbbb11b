"""Synthetic people: a data set without photos of real people; its bytes are reproducible."""
