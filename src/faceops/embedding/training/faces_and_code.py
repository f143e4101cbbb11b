"""A key for what is kept from run to run: from which faces it came, and by which code."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from faceops.embedding.labelled_crops import LabelledCrops


def faces_and_code(faces: LabelledCrops, modules: Iterable[str]) -> str:
    """Return a sha256 over the crops of `faces` in their order and the files of `modules`."""
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update(Path(str(sys.modules[module].__file__)).read_bytes())
    for row in faces.rows:
        digest.update(faces.crops[row].tobytes())
    return digest.hexdigest()
