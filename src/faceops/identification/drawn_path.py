"""Where the drawn copy of a photo lies."""

from hashlib import sha256
from pathlib import Path

_NAME_BYTES = 255  # as most file systems allow
_PATH_BYTES = 2000  # of at most 4096 that the output folder's own path shares
_ENDING = ".jpg"


def drawn_path(photo_path: str) -> Path:
    """Return the drawn copy's path below the folder of drawn copies.

    That is photo.jpg.jpg in the photo's own folder. Where such a name is too long, or might be a
    folder's name, it is a short one at the top, with a part of the path's sha256.

    Args:
        photo_path: as the records have it, below the photos' folder.
    """
    usual = Path(photo_path + _ENDING)
    if (
        len(usual.name.encode()) <= _NAME_BYTES
        and len(photo_path.encode()) <= _PATH_BYTES
        and not any(folder.endswith(_ENDING) for folder in usual.parts[:-1])
    ):
        return usual
    return Path(f"{usual.name[:40]}-{sha256(photo_path.encode()).hexdigest()[:24]}{_ENDING}")
