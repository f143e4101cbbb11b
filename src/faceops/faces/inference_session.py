"""ONNX Runtime sessions as this package runs them."""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from faceops.base.errors import FaceOpsError
from faceops.base.shortage import shortage

# The errors of ONNX Runtime have no common base class.
_LOAD_ERRORS = (
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NoModel,
    runtime.NoSuchFile,
    runtime.NotImplemented,
    runtime.RuntimeException,
    OSError,
    RuntimeError,
    ValueError,
)


def open_session(
    model: Path | bytes, threads: int, *, shapes_vary: bool = False
) -> onnxruntime.InferenceSession:
    """Return a CPU session of `model` with `threads` threads inside an operator, one across.

    Memory is kept between runs. Asking the system for it each time took half of the detector's CPU
    time, and more memory in all. A plan of the memory is kept for each shape of the input, unless
    `shapes_vary`: for photos it gains nothing and takes a third more.

    Raises:
        FaceOpsError: the file is missing or not a model that ONNX Runtime can run, or memory is
            short.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = not shapes_vary
    options.log_severity_level = 3  # errors only: exported models cause harmless warnings
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except _LOAD_ERRORS as error:
        if lack := shortage(error):
            raise lack from None
        name = "the model's bytes" if isinstance(model, bytes) else str(model)
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FaceOpsError(
            f"{name} cannot be run by ONNX Runtime ({first}); supply the file again."
        ) from None
