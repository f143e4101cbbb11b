"""Third-party weights: files of weights.toml, found on this machine or fetched; verified."""
