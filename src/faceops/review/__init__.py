"""Review: what people decided about faces becomes training data."""
