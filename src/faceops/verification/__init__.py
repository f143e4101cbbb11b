"""The pair verifier, its calibration, and the thresholds that belong to a budget of errors."""
