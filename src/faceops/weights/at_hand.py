"""Find a weight on this machine: in the user's folder or in the cache, by its sha256."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.weights.catalogue import Weight


@dataclass(frozen=True)
class Found:
    """A verified file and the place in which it was found."""

    path: Path
    place: Literal["folder", "cache"]


def is_weight(path: Path, weight: Weight) -> bool:
    """Say whether `path` holds exactly the bytes of `weight`; the size is looked at first."""
    try:
        return (
            path.is_file()
            and path.stat().st_size == weight.size
            and sha256_file(path) == weight.sha256
        )
    except OSError:
        return False


def in_folder(weight: Weight, folder: Path) -> Path | None:
    """Return the file of `folder` that is `weight`, whatever its name, or None.

    Raises:
        FaceOpsError: `folder` is no readable folder, or holds other bytes under the weight's name.
    """
    named = folder / weight.file
    if is_weight(named, weight):
        return named
    try:
        others = sorted(path for path in folder.iterdir() if path != named)
    except OSError as error:
        why = error.strerror or error
        raise FaceOpsError(
            f"the folder of weights {folder} cannot be read ({why}); "
            "point FACEOPS_WEIGHTS at a folder, or unset it."
        ) from None
    for path in others:
        if is_weight(path, weight):
            return path
    if named.exists():
        raise FaceOpsError(
            f"{named} is not the weight {weight.name}: its sha256 is not {weight.sha256}; "
            "replace or remove it, or unset FACEOPS_WEIGHTS to have the right one fetched."
        )
    return None


def find_at_hand(weight: Weight, folder: Path | None, cache: Path) -> Found | None:
    """Return where `weight` lies, `folder` before `cache`, or None; touches no network.

    A damaged file in the cache counts as absent, since fetching replaces it.
    """
    if folder is not None and (path := in_folder(weight, folder)):
        return Found(path, "folder")
    cached = cache / weight.file
    return Found(cached, "cache") if is_weight(cached, weight) else None
