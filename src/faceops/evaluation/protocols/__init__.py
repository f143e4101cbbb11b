"""Evaluation protocols: verification, identification, robustness, groups."""
