"""The published release: SFace and dlib, calibrated on LFW; it needs no rebuild, no registry.

Its statement (release.json), evaluation, model card and verifier lie here as files. Its other
models are joined from the weights of weights.toml, as parts.json says; `assemble` does it, and
`write` writes all of these files anew. This module imports no NumPy and no pydantic: an unchanged
run of identify loads nothing else of the release.
"""

from functools import cache
from pathlib import Path
from typing import Any

from faceops.base.files import cache_folder, read_json_object, sha256_file
from faceops.release.release_file import RELEASE_FILE

PUBLISHED = "published"  # its name, where others have models:/NAME/VERSION
FILES = Path(__file__).parent
PARTS_FILE, PEOPLE_FILE = "parts.json", "people.txt"


@cache
def published_statement() -> dict[str, Any]:
    """Return the content of its release.json."""
    return read_json_object(FILES / RELEASE_FILE)


def published_folder() -> Path:
    """Return the folder of its bundle in the cache, which `load_published` makes at first use."""
    return cache_folder() / "releases" / f"{PUBLISHED}-{sha256_file(FILES / RELEASE_FILE)[:12]}"
