"""A file's identity: the sha256 of its bytes."""

import hashlib
from pathlib import Path


def sha256_file(path: Path) -> str:
    """Return the sha256 of the bytes of the file `path`, hexadecimal; memory stays small."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
