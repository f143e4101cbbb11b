"""Configuration, typed once: params.yaml and its sections."""

from faceops.config.params_file import read_params, write_params
from faceops.config.sections import Params

__all__ = ["Params", "read_params", "write_params"]
