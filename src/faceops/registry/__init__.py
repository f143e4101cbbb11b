"""Releases in MLflow: registered versions, the champion and challenger aliases, downloads."""
