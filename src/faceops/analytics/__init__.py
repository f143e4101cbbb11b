"""The analytics of the libraries that FaceOps stands on: off, in this one place."""
