"""Training: inputs, the loop, checkpoints, and logging to MLflow."""
