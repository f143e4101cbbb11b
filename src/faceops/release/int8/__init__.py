"""The embedder in eight bits: made, measured against float32, and offered or not."""
