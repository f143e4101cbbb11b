"""The typed configuration: params.yaml and its sections."""

from faceops.config.params_file import experiment_file, read_params, write_params
from faceops.config.sections import Params

__all__ = ["Params", "experiment_file", "read_params", "write_params"]
