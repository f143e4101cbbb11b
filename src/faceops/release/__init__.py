"""The release: its contract, ONNX export and parity, int8, the bundle, and its evaluation."""
