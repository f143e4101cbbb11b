"""Outside weights: files named by sha256 in weights.toml, found at hand or fetched."""
