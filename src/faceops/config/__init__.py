"""The typed configuration: params.yaml and its sections."""
