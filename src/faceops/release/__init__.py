"""ONNX export and parity, the release contract, the bundle, the registry."""
