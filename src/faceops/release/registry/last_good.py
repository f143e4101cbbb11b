"""What an address stood for when the store last answered."""

import json
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.release.registry.address import Address
from faceops.release.release_file import RELEASE_FILE


def remember(address: Address, cache: Path, folder: Path, version: int) -> None:
    """Note in `cache` that `address` is `version`, whose bundle lies in its folder `folder`.

    Where the cache cannot be written nothing is noted: only a later run without the store would
    have needed it.
    """
    content = {"version": version, "folder": folder.name}
    text = json.dumps(content, sort_keys=True).encode()
    path = _note(address, cache)
    try:
        if not path.is_file() or path.read_bytes() != text:
            write_file(path, text)
    except (OSError, FaceOpsError):
        return


def last_good(address: Address, cache: Path) -> tuple[Path, int] | None:
    """Return the bundle's folder and the version that `address` was last, None if not known."""
    try:
        content = json.loads(_note(address, cache).read_text("utf-8"))
        folder, version = cache / str(content["folder"]), int(content["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (folder, version) if (folder / RELEASE_FILE).is_file() else None


def _note(address: Address, cache: Path) -> Path:
    return cache / f"last-{address.name}-{address.alias or address.version}.json"
