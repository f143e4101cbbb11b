"""Write the model files of a bundle and its release.json."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_folder, sha256_file
from faceops.faces.align import ALIGNMENT_VERSION, TEMPLATE
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.release.contract import (
    DETECTOR,
    EMBEDDER,
    LANDMARKS,
    MODEL_FILES,
    RELEASE_FILE,
    SCHEMA_VERSION,
    VERIFIER,
    Alignment,
    Preprocessing,
    Release,
    WeightFile,
    contract_id,
    read_release,
    rounded_template,
    write_release,
)
from faceops.release.int8.offer import with_int8
from faceops.release.verifier_graph import verifier_graph
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier, Verify
from faceops.weights.catalogue import Weight


def serialise(model: onnx.ModelProto) -> bytes:
    """Return the model's bytes; equal models give equal bytes."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def write_bundle(
    folder: Path,
    *,
    embedder: onnx.ModelProto,
    embedder_weight: WeightFile,
    verifier: Verifier,
    thresholds: Thresholds,
    detector: Path,
    landmarks: Path,
    catalogue: dict[str, Weight],
    opset: int,
    detector_size: int,
    detector_threshold: float,
    crop_mode: str,
    params: dict[str, Any],
    data: dict[str, Any],
) -> Release:
    """Write the bundle `folder` (replaced as a whole) and return its release.

    `embedder` has the inputs and outputs of `Preprocessing`; `embedder_weight` states where
    it comes from (its sha256 is filled in here); `detector` and `landmarks` are the published
    YuNet and O-Net files, whose licences the `catalogue` states.
    """
    content = {
        EMBEDDER: serialise(embedder),
        VERIFIER: serialise(verifier_graph(verifier, opset)),
        DETECTOR: with_symbolic_size(detector.read_bytes()),
        LANDMARKS: landmarks.read_bytes(),
    }
    yunet, onet = catalogue["yunet"], catalogue["onet"]
    fitted = WeightFile(sha256="", licence="as this project", source="fitted by this pipeline")
    origin = {
        EMBEDDER: embedder_weight,
        VERIFIER: fitted,
        DETECTOR: WeightFile(sha256="", licence=yunet.licence, source=f"yunet: {yunet.what}"),
        LANDMARKS: WeightFile(sha256="", licence=onet.licence, source=f"onet: {onet.what}"),
    }
    weights = {
        name: origin[name].model_copy(update={"sha256": hashlib.sha256(file).hexdigest()})
        for name, file in content.items()
    }
    alignment = Alignment(
        version=ALIGNMENT_VERSION,
        size=112,
        template=rounded_template(TEMPLATE.tolist()),
        detector_size=detector_size,
        detector_threshold=detector_threshold,
        mode=crop_mode,
    )
    size = embedding_size(embedder)
    preprocessing = Preprocessing()
    release = Release(
        contract_id=contract_id(
            embedder_sha256=weights[EMBEDDER].sha256,
            detector_sha256=weights[DETECTOR].sha256,
            landmarks_sha256=weights[LANDMARKS].sha256,
            embedding_size=size,
            preprocessing_version=preprocessing.version,
            alignment=alignment,
        ),
        embedding_size=size,
        preprocessing=preprocessing,
        alignment=alignment,
        verifier_kind=verifier.kind,
        weights=weights,
        thresholds=thresholds,
        params=params,
        data=data,
    )
    with atomic_folder(folder) as temporary:
        for name, file in content.items():
            (temporary / name).write_bytes(file)
        write_release(release, temporary)
    return release


def embedding_size(embedder: onnx.ModelProto) -> int:
    """Return D of the output "embeddings" (batch, D)."""
    (output,) = embedder.graph.output
    return int(output.type.tensor_type.shape.dim[1].dim_value)


EXPORTED = (*MODEL_FILES, RELEASE_FILE)
# What a rebuild itself changes; the release and its run record their content.
RECORDED = (":!dvc.lock", ":!params.yaml", ":!data.dvc")
EVALUATED = ("evaluation.json", "model_card.md")
INT8 = Path("build/quantise/int8")


def git_commit(root: Path) -> str:
    """Return the commit checked out in `root`, with `-dirty` if tracked files differ, else ''."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *RECORDED],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("-dirty" if changed else "")


def assemble(root: Path, target: Path) -> Path:
    """Make the bundle of the last pipeline run of `root` in the folder `target`, whole or not.

    Lineage that would make a DVC output differ from commit to commit (the git commit, the hash of
    dvc.lock) is written into `release.json` only here, and so is the int8 embedder, where the
    quantise stage offers one.

    Raises:
        FaceOpsError: the pipeline has not run to its end.
    """
    sources = [root / "build/export" / name for name in EXPORTED]
    sources += [root / "build/evaluate" / name for name in EVALUATED]
    for source in sources:
        if not source.is_file():
            raise FaceOpsError(f"{source} is missing; run `dvc repro` to its end first.")
    release = with_int8(read_release(root / "build/export"), root / INT8)
    if release.int8 is not None:
        sources.append(root / INT8 / release.int8.file)
    lock = root / "dvc.lock"
    release = release.model_copy(
        update={
            "schema_version": SCHEMA_VERSION,
            "git_commit": git_commit(root),
            "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else "",
        }
    )
    with atomic_folder(target) as temporary:
        for source in sources:
            shutil.copy2(source, temporary / source.name)
        write_release(release, temporary)
    return target


@dataclass(frozen=True)
class Parity:
    """How closely two embeddings of the same crops agree."""

    crops: int
    max_difference: float  # of any value
    min_cosine: float


def measure_parity(torch_embeddings: np.ndarray, onnx_embeddings: np.ndarray) -> Parity:
    """Compare float32 (N, D) L2-normalised embeddings of the same N crops."""
    difference = np.abs(torch_embeddings - onnx_embeddings)
    cosine = (torch_embeddings.astype(np.float64) * onnx_embeddings).sum(1)
    lengths = np.linalg.norm(torch_embeddings, axis=1) * np.linalg.norm(onnx_embeddings, axis=1)
    return Parity(
        crops=len(torch_embeddings),
        max_difference=float(difference.max()),
        min_cosine=float((cosine / np.maximum(lengths, 1e-12)).min()),
    )


def require_parity(parity: Parity, max_difference: float) -> None:
    """Raise FaceOpsError where the embeddings differ by more than `max_difference` or are NaN."""
    if not parity.max_difference <= max_difference:
        raise FaceOpsError(
            f"torch and ONNX differ by {parity.max_difference:.2g} on {parity.crops} crops, more "
            f"than export.max_difference = {max_difference:g} (smallest cosine "
            f"{parity.min_cosine:.6f}); do not release this export."
        )


def verifier_difference(
    verifier: Verifier, verify: Verify, embeddings: np.ndarray, max_difference: float
) -> float:
    """Return the largest difference of `verify` (verifier.onnx) from `verifier` on all pairs.

    `embeddings` are float32 (N, D); each row is paired with each, itself included.

    Raises:
        FaceOpsError: a probability differs by more than `max_difference`, or is NaN.
    """
    rows = np.arange(len(embeddings))
    first, second = embeddings[np.repeat(rows, len(rows))], embeddings[np.tile(rows, len(rows))]
    difference = float(np.abs(verify(first, second) - verifier.probability(first, second)).max())
    if not difference <= max_difference:
        raise FaceOpsError(
            f"verifier.json and verifier.onnx differ by {difference:.2g} in probability on pairs "
            f"of {len(rows)} crops, more than export.max_difference = {max_difference:g}; do not "
            "release this export."
        )
    return difference
