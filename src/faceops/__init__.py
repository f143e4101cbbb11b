"""FaceOps: the MLOps-managed life of a face-recognition model."""

from faceops.base.analytics import opt_out

__version__ = "0.1.0"

opt_out()  # here, because the libraries read these switches when they are imported
