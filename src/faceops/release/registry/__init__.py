"""Releases in MLflow: runs, registered versions, the aliases champion and challenger."""
