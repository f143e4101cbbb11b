"""The labels that are probably wrong, the most suspicious first."""
