"""Which triplets of faces a step learns from."""
