"""Write the files of the published release anew, from a finished `dvc repro` on real photos."""

import base64
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, sha256_file, write_file, write_json
from faceops.base.work import usable_cpus
from faceops.faces.detector import with_symbolic_size
from faceops.faces.inference_session import open_session
from faceops.registry import FILES
from faceops.registry.published import COPIED, PARTS_FILE, PEOPLE_FILE, Parts, join, people_mark
from faceops.release import contract, export
from faceops.release.bundle import run_embedder
from faceops.release.contract import Release, add_metadata
from faceops.release.embedder_graph import adapt_embedder, measure_parity, require_parity
from faceops.release.evaluate.report import model_card
from faceops.release.joined_embedder import centre_embeddings, centre_of, mirror_embedder, with_dlib
from faceops.release.release_file import is_synthetic
from faceops.verification.embedded_faces import evenly_spread
from faceops.weights import read_catalogue, weight_path

# The file of the bundle, and the weights that it is made of.
MADE_OF = {
    contract.EMBEDDER: ("sface", "dlib"),
    contract.DETECTOR: ("yunet",),
    contract.LANDMARKS: ("onet",),
}
_BLOCK = 256  # bytes; shorter pieces of a weight are not looked for


def write_published(root: Path, folder: Path = FILES) -> Release:
    """Write the package's files of the published release to `folder`; return their release.

    Its embedder is SFace's own graph with preprocessing and normalisation around it, and dlib's
    beside it, made without torch; the build's thresholds and figures hold for it, because both give
    the same embeddings.

    `root`: the repository, after `faceops params use lfw_calibrated` and `dvc repro`.

    Raises FaceOpsError: the build is not finished, was trained, or is of synthetic people, or its
    embeddings differ.
    """
    release = contract.read_release(root / "build/export")
    source = release.weights[contract.EMBEDDER].source
    if export.AS_PUBLISHED not in source or is_synthetic(release.data):
        raise FaceOpsError(
            f"{root / 'build/export'} is not SFace as published, calibrated on real photos "
            f"({source}); run `faceops params use lfw_calibrated` and `dvc repro` on LFW."
        )
    evaluation = root / "build/evaluate" / export.EVALUATED[0]
    try:
        figures = read_json_object(evaluation)
        faces = pq.read_table(root / "build/split/faces.parquet", columns=["person", "split"])
    except (OSError, ValueError) as error:
        raise FaceOpsError(f"{evaluation} or the split cannot be read ({error}).") from None
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        release = _write_models(root, made, release)
        contract.write_release(release, made)
        shutil.copyfile(evaluation, made / evaluation.name)
        card = model_card(release, figures, read_catalogue())
        write_file(made / export.EVALUATED[1], card)
        parts = {name: _parts_of_file(made / name, weights) for name, weights in MADE_OF.items()}
        used = [row["person"] for row in faces.to_pylist() if row["split"] != "test"]
        write_file(folder / PEOPLE_FILE, "\n".join(sorted(set(map(people_mark, used)))) + "\n")
        write_json(folder / PARTS_FILE, parts)
        for name in COPIED:
            write_file(folder / name, (made / name).read_bytes())
    return release


def _write_models(root: Path, folder: Path, release: Release) -> Release:
    """Write the model files; return `release` with their sha256 and contract id."""
    settings = release.params["export"]
    network = adapt_embedder(onnx.load(weight_path("sface")))
    if settings.get("mirrored"):
        network = mirror_embedder(network)
    centre = centre_of(onnx.load(root / "build/export" / contract.EMBEDDER))
    if centre is not None:
        network = centre_embeddings(network, centre)
    joined = with_dlib(network, settings["dlib_share"])
    embedder, stated = export.embedder_file(joined)
    _require_same_embeddings(root, embedder, settings)
    (folder / contract.EMBEDDER).write_bytes(embedder)
    detector = with_symbolic_size(weight_path("yunet").read_bytes())
    (folder / contract.DETECTOR).write_bytes(detector)
    shutil.copyfile(weight_path("onet"), folder / contract.LANDMARKS)
    shutil.copyfile(root / "build/export" / contract.VERIFIER, folder / contract.VERIFIER)
    for name in (contract.DETECTOR, contract.LANDMARKS, contract.VERIFIER):
        if sha256_file(folder / name) != release.weights[name].sha256:
            raise FaceOpsError(f"{root / 'build/export' / name} is of another version; rebuild.")
    lock = root / "dvc.lock"
    update = {
        "git_commit": export.git_commit(root),
        "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else "",
    }
    return add_metadata(folder, release.with_embedder(stated).model_copy(update=update))


def _require_same_embeddings(root: Path, embedder: bytes, limits: dict[str, Any]) -> None:
    crops = np.load(root / "build/crop/crops.npy", mmap_mode="r", allow_pickle=False)
    stored = np.load(root / "build/embed/embeddings.npy", mmap_mode="r", allow_pickle=False)
    rows = evenly_spread(np.arange(len(crops)), limits["parity_crops"])
    session = open_session(embedder, usable_cpus())
    found, _ = run_embedder(session, np.asarray(crops[rows]), stored.shape[1])
    require_parity(measure_parity(np.asarray(stored[rows]), found), limits["max_difference"])


def _parts_of_file(path: Path, weights: Sequence[str]) -> Parts:
    target = path.read_bytes()
    sources = {name: weight_path(name).read_bytes() for name in weights}
    parts = parts_of(target, sources)
    assert join(parts, sources) == target
    return parts


def parts_of(target: bytes, sources: Mapping[str, bytes]) -> Parts:
    """Return `target` as pieces of `sources`, weights by name, and bytes of its own; see `join`.

    Every run of 511 bytes or more that stands in a source is found, wherever it starts: it holds
    one of the source's blocks of 256 bytes. Of equal blocks the first is taken.
    """
    blocks: dict[bytes, tuple[str, int]] = {}
    for name, source in sources.items():
        for start in range(0, len(source) - _BLOCK + 1, _BLOCK):
            blocks.setdefault(source[start : start + _BLOCK], (name, start))
    own: list[bytes] = []
    pieces: list[tuple[int, str, int, int]] = []
    done = at = 0
    while at < len(target):
        found = blocks.get(target[at : at + _BLOCK])
        if found is None:
            at += 1
            continue
        name, start = found
        source = sources[name]
        while at > done and start > 0 and target[at - 1] == source[start - 1]:
            at, start = at - 1, start - 1
        length = _common_start(memoryview(target)[at:], memoryview(source)[start:])
        own.append(target[done:at])
        pieces.append((at - done, name, start, length))
        done = at = at + length
    compressed = zlib.compress(b"".join([*own, target[done:]]), 9)
    return {"own": base64.b64encode(compressed).decode(), "pieces": pieces}


def _common_start(a: memoryview, b: memoryview) -> int:
    """Return how many bytes at the start of `a` and `b` are equal."""
    size = min(len(a), len(b))
    differ = np.frombuffer(a[:size], "u1") != np.frombuffer(b[:size], "u1")
    return int(differ.argmax()) if differ.any() else size
