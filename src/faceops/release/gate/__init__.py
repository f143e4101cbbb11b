"""The gate: champion and challenger on the same photos, and what the challenger must show."""
