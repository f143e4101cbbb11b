"""ONNX Runtime sessions as this package runs them, on a CPU or a CUDA GPU.

ONNX Runtime itself falls back to the CPU with a warning. Here a session runs where it was told to,
or is refused.
"""

import contextlib
import sys
import warnings
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from faceops.base.errors import FaceOpsError, UsageError, first_line, shortage
from faceops.base.work import Device, DeviceChoice

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_CUDA_OPTIONS = {
    "use_tf32": "0",  # its products have 11 bits: embeddings would differ from a CPU's by 1e-3
    "cudnn_conv_algo_search": "HEURISTIC",  # by default it tries all, for every size of a photo
    "arena_extend_strategy": "kSameAsRequested",
}
_ADVICE = (
    "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]', or give --device "
    "cpu."
)
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


def may_use_cuda(choice: DeviceChoice) -> bool:
    """Return whether this ONNX Runtime was built for CUDA and `choice` allows it."""
    return choice != "cpu" and _CUDA in onnxruntime.get_available_providers()


def choose_device(choice: DeviceChoice, model: bytes) -> tuple[Device, str]:
    """Return the device that `choice` means on this machine, and a note for the user, "" mostly.

    auto is cuda where a session of `model` really opens there. The note says why an ONNX Runtime
    that was built for CUDA cannot use it.

    Raises UsageError: `choice` is cuda, and it cannot be used.
    """
    if choice == "cpu" or (choice == "auto" and not may_use_cuda(choice)):
        return "cpu", ""
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints, and stdout may be JSON
            onnxruntime.preload_dlls()  # CUDA and cuDNN, where they are packages of pip
    try:
        open_session(model, 1, device="cuda")
    except UsageError as error:
        if choice == "cuda":
            raise
        return "cpu", f"the CPU is used: {error}"
    return "cuda", ""


def open_session(
    model: Path | bytes, threads: int, *, shapes_vary: bool = False, device: Device = "cpu"
) -> onnxruntime.InferenceSession:
    """Return a session of `model` with `threads` threads inside an operator, one across.

    Memory is kept between runs. Asking the system for it each time took half of the detector's CPU
    time, and more memory in all. A plan of the memory is kept for each shape of the input, unless
    `shapes_vary`: for photos it gains nothing and takes a third more.

    Raises UsageError: `device` is cuda, and ONNX Runtime cannot use it on this machine;
    FaceOpsError: the file is missing or not a model that ONNX Runtime can run, or memory is short.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = not shapes_vary
    options.log_severity_level = 3  # errors only: exported models cause harmless warnings
    source = model if isinstance(model, bytes) else str(model)
    providers = [_CPU] if device == "cpu" else [(_CUDA, _CUDA_OPTIONS), _CPU]
    try:
        with warnings.catch_warnings():  # of a provider that is not there: an error below
            warnings.simplefilter("ignore")
            session = onnxruntime.InferenceSession(
                source, options, providers=providers, enable_fallback=0
            )
    except _LOAD_ERRORS as error:
        if lack := shortage(error):
            raise lack from None
        name = "the model's bytes" if isinstance(model, bytes) else str(model)
        first = first_line(error)
        raise FaceOpsError(
            f"{name} cannot be run by ONNX Runtime ({first}); supply the file again."
        ) from None
    if device == "cuda" and _CUDA not in session.get_providers():
        raise UsageError(_without_cuda())
    return session


def _without_cuda() -> str:
    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    if may_use_cuda("cuda"):
        return (
            f"{runtime} cannot use CUDA on this machine; check the GPU (nvidia-smi), CUDA and "
            f"cuDNN: {_ADVICE}"
        )
    return f"{runtime} was built without CUDA, which --device cuda needs; {_ADVICE}"
