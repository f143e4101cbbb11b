"""Evaluate a release, or an embedder from elsewhere, on labelled photos."""
