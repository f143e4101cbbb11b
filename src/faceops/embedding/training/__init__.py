"""Training: what goes in, the loop, what it leaves on disk and in MLflow."""
