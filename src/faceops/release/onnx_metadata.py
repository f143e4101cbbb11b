"""Contract id, licence and lineage inside the ONNX files that a rebuild makes.

They are `metadata_props` of ONNX, appended to the file: protobuf joins appended bytes to the
message before them. What is before them is the exported graph, and the contract id is made of its
sha256, so that it depends neither on itself nor on the commit. Detector and landmarks are files of
others and stay as they are.
"""

import hashlib
from pathlib import Path

from faceops.release.contract import EMBEDDER, VERIFIER, Release, WeightFile

_PREFIX = "faceops."  # of our keys
_METADATA_PROPS, _KEY = 14 << 3 | 2, 1 << 3 | 2  # protobuf's tags of the fields, as one byte each


def graph_length(content: bytes) -> int:
    """Return the number of bytes of an ONNX file before the metadata that FaceOps appended.

    All bytes if there is no such metadata, if a field follows it, or if it is no protobuf message.
    """
    at = end = 0
    try:
        while at < len(content):
            tag, value = _varint(content, at)
            match tag & 7:
                case 0:
                    at = _varint(content, value)[1]
                case 1:
                    at = value + 8
                case 2:
                    length, value = _varint(content, value)
                    at = value + length
                case 5:
                    at = value + 4
                case _:
                    return len(content)
            # Of an entry's first field, the key, the length is below 128: one byte.
            ours = tag == _METADATA_PROPS and content[value] == _KEY
            if not (ours and content.startswith(_PREFIX.encode(), value + 2)):
                end = at
    except IndexError:
        return len(content)
    return end if at == len(content) else len(content)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the base-128 number at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > 70:  # of 64 bits at most
            raise IndexError
        if byte < 0x80:
            return number, at


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
    import onnx

    values = {
        "contract_id": release.contract_id,
        "data_sha256": str(release.data.get("faces_sha256", "")),
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
        "licence": weight.licence,
        "source": weight.source,
    }
    entries = [
        onnx.StringStringEntryProto(key=f"{_PREFIX}{key}", value=value)
        for key, value in values.items()
    ]
    content = file.read_bytes()
    content += onnx.ModelProto(metadata_props=entries).SerializeToString(deterministic=True)
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return weight.model_copy(update={"sha256": sha256, "graph_sha256": weight.sha256})


def read_metadata(file: Path) -> dict[str, str]:
    """Return what `add_metadata` appended to an ONNX file, without the prefix of the keys."""
    import onnx

    entries = onnx.load(file, load_external_data=False).metadata_props
    return {
        entry.key.removeprefix(_PREFIX): entry.value
        for entry in entries
        if entry.key.startswith(_PREFIX)
    }
