"""Contract id, licence and lineage inside the ONNX files that a rebuild makes.

They are `metadata_props` of ONNX, appended to the file: protobuf joins appended bytes to the
message before them. What is before them is the exported graph, and the contract id is made of its
sha256, so that it depends neither on itself nor on the commit. Detector and landmarks are files of
others and stay as they are.
"""

import hashlib
from pathlib import Path

from faceops.release.contract import EMBEDDER, VERIFIER, Release, WeightFile

_PREFIX = "faceops."  # of the keys


def metadata_bytes(release: Release, weight: WeightFile) -> bytes:
    """Return what is appended to the file of `weight`; changing it needs a new schema version."""
    values = {
        "contract_id": release.contract_id,
        "data_sha256": str(release.data.get("faces_sha256", "")),
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
        "licence": weight.licence,
        "source": weight.source,
    }
    entries = (_field(1, f"{_PREFIX}{key}") + _field(2, text) for key, text in values.items())
    return b"".join(_field(14, entry) for entry in entries)


def _field(number: int, content: str | bytes) -> bytes:
    """Return a protobuf field of text or of a message; not by `onnx`, which `identify` lacks."""
    data = content.encode() if isinstance(content, str) else content
    head, size = [number << 3 | 2], len(data)
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + data


def add_metadata(folder: Path, release: Release) -> Release:
    """Append the metadata to the files in `folder`; return `release` with their new sha256."""
    names = (EMBEDDER, VERIFIER)
    weights = {name: _add(folder / name, release, release.weights[name]) for name in names}
    int8 = release.int8
    if int8 is not None:
        weight = _add(folder / int8.file, release.of_precision("int8"), int8.weight)
        int8 = int8.model_copy(update={"weight": weight})
    return release.model_copy(update={"weights": release.weights | weights, "int8": int8})


def _add(file: Path, release: Release, weight: WeightFile) -> WeightFile:
    content = file.read_bytes() + metadata_bytes(release, weight)
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return weight.model_copy(update={"sha256": sha256, "graph_sha256": weight.sha256})


def read_metadata(file: Path) -> dict[str, str]:
    """Return what was appended to an ONNX file, without the prefix of the keys."""
    import onnx

    entries = onnx.load(file, load_external_data=False).metadata_props
    return {
        entry.key.removeprefix(_PREFIX): entry.value
        for entry in entries
        if entry.key.startswith(_PREFIX)
    }
