"""The gate: champion and challenger compared on the same photos before promotion."""
