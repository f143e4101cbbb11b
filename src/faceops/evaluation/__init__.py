"""Protocols and metrics on embeddings and pair probabilities, and their plots."""
