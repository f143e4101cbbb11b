"""Whether a release offers int8: what it loses against float32 on validation people.

And whether a machine gains by it: processors without instructions for int8 (VNNI) gain little.
"""

import platform
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict, ValidationError

from faceops.base.errors import FaceOpsError
from faceops.base.figures import threshold_at
from faceops.base.files import cache_folder, read_json_object, write_file, write_json
from faceops.config.sections import Quantise
from faceops.faces.inference_session import open_session
from faceops.release.contract import (
    EMBEDDER,
    EMBEDDER_INT8,
    Int8,
    Int8Measured,
    Release,
    read_release,
)
from faceops.verification.pairs import PairScores
from faceops.verification.thresholds import people_for_far
from faceops.verification.verifier import reaches


def measure_int8(
    embeddings: tuple[np.ndarray, np.ndarray],
    tar: tuple[float, float],
    persons: np.ndarray,
    settings: Quantise,
    calibration_crops: int,
) -> Int8Measured:
    """Compare `embeddings` (of float32, of int8), each (N, D), L2-normalised, of `persons` (N,).

    `tar` are the true accept rates of both at `settings.far`, see `true_accept_rate`.
    """
    cosine = np.einsum("nd,nd->n", *(part.astype(np.float64) for part in embeddings))
    return Int8Measured(
        people=len(np.unique(persons)),
        photos=len(persons),
        far=settings.far,
        tar_float32=round(tar[0], 6),
        tar_int8=round(tar[1], 6),
        tar_loss_allowed=settings.max_tar_loss,
        min_cosine=round(float(cosine.min()), 6),
        mean_cosine=round(float(cosine.mean()), 6),
        calibration_crops=calibration_crops,
    )


def true_accept_rate(scores: PairScores, far: float) -> float:
    """Return the share of genuine pairs accepted at the threshold for false accept rate `far`."""
    impostors = np.sort(np.asarray(scores.impostor, np.float32))[::-1]
    return float(reaches(scores.genuine, threshold_at(impostors, far)).mean())


def why_not(measured: Int8Measured) -> str:
    """Return the sentence that says why int8 is not offered, "" if it is."""
    needed = people_for_far(measured.far)
    if measured.people < needed:
        return (
            f"int8 is not offered: TAR at FAR {measured.far:g} needs {needed} validation people, "
            f"not {measured.people}; raise quantise.far or give more people."
        )
    loss = measured.tar_float32 - measured.tar_int8
    if not loss < measured.tar_loss_allowed:
        return (
            f"int8 is not offered: TAR at FAR {measured.far:g} falls by {loss:.4f} (from "
            f"{measured.tar_float32:.4f} to {measured.tar_int8:.4f}) on {measured.people} "
            f"validation people, and must fall by less than quantise.max_tar_loss = "
            f"{measured.tar_loss_allowed:g}."
        )
    return ""


OFFER_FILE = "int8.json"


class Offer(BaseModel):
    """The content of int8.json; `int8` is None if none is offered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_from: str  # contract id of the float32 release
    int8: Int8 | None


def write_offer(folder: Path, offer: Offer, embedder: bytes) -> None:
    """Write int8.json to `folder` and, if int8 is offered, the file `embedder`.

    Raises:
        FaceOpsError: it cannot be written.
    """
    (folder / EMBEDDER_INT8).unlink(missing_ok=True)
    if offer.int8 is not None:
        write_file(folder / offer.int8.file, embedder)
    write_json(folder / OFFER_FILE, offer.model_dump(mode="json"))


def with_int8(release: Release, folder: Path) -> Release:
    """Return `release` with the int8 that `folder` offers; unchanged if there is no int8.json.

    Raises:
        FaceOpsError: int8.json is damaged, or was made for another embedder.
    """
    path = folder / OFFER_FILE
    if not path.is_file():
        return release
    try:
        offer = Offer.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(f"{path} cannot be read ({reason}); run the quantise stage.") from None
    if offer.made_from != release.contract_id:
        raise FaceOpsError(
            f"{path} was made for contract {offer.made_from[:12]}, the release has "
            f"{release.contract_id[:12]}; run `dvc repro` first."
        )
    return release.model_copy(update={"int8": offer.int8})


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
    offer = read_release(bundle).int8
    if offer is None:
        return 0.0
    machine = f"{_processor()}, onnxruntime {onnxruntime.__version__}"
    file = cache_folder() / "int8" / f"{offer.contract_id}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = read_json_object(file)
        if known["machine"] == machine:
            return float(known["gain"])
    gain = _measure(bundle)
    with suppress(FaceOpsError):  # a cache that cannot be written: measured again
        write_json(file, {"machine": machine, "gain": round(gain, 3)})
    return gain


def _processor() -> str:
    with suppress(OSError):
        for line in _CPU.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _measure(bundle: Path) -> float:
    names = (EMBEDDER, EMBEDDER_INT8)
    sessions = {name: open_session(bundle / name, 1) for name in names}
    crops = np.random.default_rng(0).integers(0, 256, (_CROPS, 112, 112, 3), np.uint8)
    least = dict.fromkeys(names, np.inf)
    for _ in range(_TIMES):  # in turns, so that other load affects both
        for name, session in sessions.items():
            start = time.thread_time()
            session.run(None, {"crops": crops})
            least[name] = min(least[name], time.thread_time() - start)
    return float(least[EMBEDDER] / least[EMBEDDER_INT8])
