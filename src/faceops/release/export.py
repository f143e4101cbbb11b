"""Write the files of a bundle and its release.json, and compare them with what they export."""

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
from faceops.faces.detector import with_symbolic_size
from faceops.release import contract
from faceops.release.contract import Alignment, Release, WeightFile, add_metadata, raw_output
from faceops.release.int8_offer import with_int8
from faceops.release.joined_embedder import embedding_size, raw_embedding
from faceops.release.release_file import RELEASE_FILE
from faceops.release.verifier_graph import verifier_graph
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier, Verify
from faceops.weights import Weight


def serialise(model: onnx.ModelProto) -> bytes:
    """Return the model's bytes; equal models give equal bytes."""
    return model.SerializeToString(deterministic=True)


def load_network(file: Path) -> onnx.ModelProto:
    """Return an embedder without the output that `embedder_file` added."""
    model = onnx.load(file)
    del model.graph.output[1:]
    return model


def embedder_file(model: onnx.ModelProto) -> tuple[bytes, dict[str, str | None]]:
    """Return the file of an embedder, with its raw embedding as a second output.

    Also returns what `WeightFile` states of it. The contract id is made of the file without that
    output, which changes no embedding.

    `model`: with the one output "embeddings".
    """
    graph, raw = serialise(model), raw_embedding(model)
    content = graph + raw_output(raw)
    return content, {
        "sha256": hashlib.sha256(content).hexdigest(),
        "graph_sha256": hashlib.sha256(graph).hexdigest() if raw else None,
        "raw_embedding": raw,
    }


@dataclass(frozen=True)
class BundleModels:
    """The models that a bundle is made of."""

    embedder: onnx.ModelProto  # with the input and output of `Preprocessing`
    embedder_weight: WeightFile  # its licence and source; `write_bundle` fills in the sha256
    verifier: Verifier  # calibrated
    thresholds: Thresholds  # of embedder and verifier
    detector: Path  # the published YuNet file
    landmarks: Path  # the published O-Net file


def write_bundle(
    folder: Path,
    models: BundleModels,
    alignment: Alignment,
    catalogue: dict[str, Weight],
    *,
    opset: int,
    params: dict[str, Any],
    data: dict[str, Any],
) -> Release:
    """Write the bundle `folder` (replaced as a whole) and return its release.

    Args:
        catalogue: states the licences of YuNet and O-Net.
        params: of the stages up to export, to be recorded.
        data: the photos it was trained on, to be recorded.
    """
    embedder, stated = embedder_file(models.embedder)
    content = {
        contract.EMBEDDER: embedder,
        contract.VERIFIER: serialise(verifier_graph(models.verifier, opset)),
        contract.DETECTOR: with_symbolic_size(models.detector.read_bytes()),
        contract.LANDMARKS: models.landmarks.read_bytes(),
    }
    origin = {
        contract.EMBEDDER: models.embedder_weight,
        contract.VERIFIER: WeightFile(
            sha256="", licence="as this project", source="fitted by this pipeline"
        ),
        contract.DETECTOR: _published("yunet", catalogue),
        contract.LANDMARKS: _published("onet", catalogue),
    }
    release = Release(
        contract_id="",
        embedding_size=embedding_size(models.embedder),
        preprocessing=contract.Preprocessing(),
        alignment=alignment,
        verifier_kind=models.verifier.kind,
        weights={
            name: origin[name].model_copy(update={"sha256": hashlib.sha256(file).hexdigest()})
            for name, file in content.items()
        },
        thresholds=models.thresholds,
        params=params,
        data=data,
    )
    release = release.with_embedder(stated)
    with atomic_folder(folder) as temporary:
        for name, file in content.items():
            (temporary / name).write_bytes(file)
        contract.write_release(release, temporary)
    return release


def _published(name: str, catalogue: dict[str, Weight]) -> WeightFile:
    weight = catalogue[name]
    return WeightFile(sha256="", licence=weight.licence, source=f"{name}: {weight.what}")


EXPORTED = (*contract.MODEL_FILES, RELEASE_FILE)
EVALUATED = ("evaluation.json", "model_card.md")
INT8 = Path("build/quantise/int8")
# A rebuild changes these itself; the release and its MLflow run record their content.
_RECORDED = (":!dvc.lock", ":!params.yaml", ":!data.dvc")


def git_commit(root: Path) -> str:
    """Return the commit checked out in `root`, with `-dirty` if tracked files differ, else ''."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *_RECORDED],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("-dirty" if changed else "")


def assemble(root: Path, target: Path) -> Path:
    """Make the bundle of the last pipeline run of `root` in the folder `target`, atomically.

    The git commit and the hash of dvc.lock are added to release.json and the ONNX files here and
    not in a stage, whose output would otherwise change with each commit; so is the int8 embedder,
    if offered.

    Raises:
        FaceOpsError: the pipeline has not run to its end.
    """
    sources = [root / "build/export" / name for name in EXPORTED]
    sources += [root / "build/evaluate" / name for name in EVALUATED]
    for source in sources:
        if not source.is_file():
            raise FaceOpsError(f"{source} is missing; run `dvc repro` first.")
    release = with_int8(contract.read_release(root / "build/export"), root / INT8)
    if release.int8 is not None:
        sources.append(root / INT8 / release.int8.file)
    lock = root / "dvc.lock"
    release = release.model_copy(
        update={
            "schema_version": contract.SCHEMA_VERSION,
            "git_commit": git_commit(root),
            "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else "",
        }
    )
    with atomic_folder(target) as temporary:
        for source in sources:
            shutil.copy2(source, temporary / source.name)
        contract.write_release(add_metadata(temporary, release), temporary)
    return target


@dataclass(frozen=True)
class Parity:
    """How closely two embeddings of the same crops agree."""

    crops: int
    max_difference: float  # of any value
    min_cosine: float


def measure_parity(torch_embeddings: np.ndarray, onnx_embeddings: np.ndarray) -> Parity:
    """Compare float32 (N, D) L2-normalised embeddings of the same N crops."""
    a, b = torch_embeddings.astype(np.float64), onnx_embeddings.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(1) / np.maximum(lengths, 1e-12)
    return Parity(len(a), float(np.abs(a - b).max()), float(cosine.min()))


def require_parity(parity: Parity, max_difference: float) -> None:
    """Raise FaceOpsError if the embeddings differ by more than `max_difference` or are NaN."""
    if not parity.max_difference <= max_difference:
        raise FaceOpsError(
            f"torch and ONNX differ by {parity.max_difference:.2g} on {parity.crops} crops, more "
            f"than export.max_difference = {max_difference:g} (smallest cosine "
            f"{parity.min_cosine:.6f}); do not release this export."
        )


def verifier_difference(
    verifier: Verifier, verify: Verify, embeddings: np.ndarray, max_difference: float
) -> float:
    """Return the largest difference in probability of `verify` (verifier.onnx) from `verifier`.

    On all pairs of rows of `embeddings`, float32 (N, D).

    Raises:
        FaceOpsError: it is more than `max_difference`, or NaN.
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
