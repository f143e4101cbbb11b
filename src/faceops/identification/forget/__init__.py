"""Remove a person from everything that FaceOps wrote."""
