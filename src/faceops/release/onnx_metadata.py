"""What FaceOps appends to the ONNX files that a rebuild makes: a second output, and metadata.

Protobuf joins appended bytes to the message before them. What is before them is the exported graph,
and the contract id is made of its sha256: it depends neither on itself nor on the commit, and
galleries of embedders without the second output stay valid. Metadata are `metadata_props` of ONNX:
contract id, licence and lineage. Detector and landmarks are files of others and stay as they are.
"""

import hashlib
from pathlib import Path

from faceops.release.contract import EMBEDDER, VERIFIER, Release, WeightFile

_PREFIX = "faceops."  # of the keys
_FLOAT32 = b"\x08\x01"  # elem_type


def raw_output(name: str | None) -> bytes:
    """Return what makes the value `name`, float32 (batch, D), a further output; b"" for None."""
    if name is None:
        return b""
    shape = _field(1, _field(2, "batch")) + _field(1, _field(2, "raw_size"))
    value = _field(1, name) + _field(2, _field(1, _FLOAT32 + _field(2, shape)))
    return _field(7, _field(12, value))  # graph, output


def exported_graph(content: bytes, release: Release, weight: WeightFile) -> bytes:
    """Return the `content` of the file of `weight` without what was appended to it."""
    graph = content.removesuffix(metadata_bytes(release, weight))
    return graph.removesuffix(raw_output(weight.raw_embedding))


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
    graph_sha256 = weight.graph_sha256 or weight.sha256
    return weight.model_copy(update={"sha256": sha256, "graph_sha256": graph_sha256})


def read_metadata(file: Path) -> dict[str, str]:
    """Return what was appended to an ONNX file, without the prefix of the keys."""
    import onnx

    entries = onnx.load(file, load_external_data=False).metadata_props
    return {
        entry.key.removeprefix(_PREFIX): entry.value
        for entry in entries
        if entry.key.startswith(_PREFIX)
    }
