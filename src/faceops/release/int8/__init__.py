"""The embedder in int8: quantised, compared with float32, and offered if it loses little."""
