"""How much faster the int8 embedder of a release is on this machine, measured once.

Processors without instructions for it (VNNI) gain little.
"""

import platform
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime

from faceops.base.errors import FaceOpsError
from faceops.base.files import cache_folder, read_json_object, write_json
from faceops.faces.inference_session import open_session
from faceops.release import contract

LEAST_GAIN = 1.3  # from which int8 is worth its loss of accuracy
_CROPS, _TIMES = 4, 3  # embedded at once, and how often
_CPU = Path("/proc/cpuinfo")


def int8_gain(bundle: Path) -> float:
    """Return the CPU time of float32 over that of int8; 0 if the release offers no int8.

    It is measured in half a second and kept in the cache, for the latest processor and version of
    ONNX Runtime.

    Raises:
        FaceOpsError: `bundle` is not a release bundle, or an embedder cannot be run.
    """
    offer = contract.read_release(bundle).int8
    if offer is None:
        return 0.0
    machine = f"{_processor()}, onnxruntime {onnxruntime.__version__}"
    file = cache_folder() / "int8" / f"{offer.contract_id}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = read_json_object(file)
        if known["machine"] == machine:
            return float(known["gain"])
    gain = _measure(bundle)
    with suppress(OSError, FaceOpsError):  # a cache that cannot be written: measured again
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"machine": machine, "gain": round(gain, 3)})
    return gain


def _processor() -> str:
    with suppress(OSError):
        for line in _CPU.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _measure(bundle: Path) -> float:
    names = (contract.EMBEDDER, contract.EMBEDDER_INT8)
    sessions = {name: open_session(bundle / name, 1) for name in names}
    crops = np.random.default_rng(0).integers(0, 256, (_CROPS, 112, 112, 3), np.uint8)
    least = dict.fromkeys(names, np.inf)
    for _ in range(_TIMES):  # in turns, so that other load affects both
        for name, session in sessions.items():
            start = time.thread_time()
            session.run(None, {"crops": crops})
            least[name] = min(least[name], time.thread_time() - start)
    return float(least[contract.EMBEDDER] / least[contract.EMBEDDER_INT8])
