"""From a weight's name to a verified file: at hand, else fetched."""

from pathlib import Path

from faceops.weights.at_hand import find_at_hand
from faceops.weights.catalogue import Weight, find_entry, read_catalogue
from faceops.weights.fetch import fetch

DEFAULT_CACHE = Path("~/.cache/faceops/weights")


def obtain(weight: Weight, folder: Path | None, cache: Path) -> Path:
    """Return the verified file of `weight`: in `folder`, in `cache`, else fetched into `cache`.

    Raises:
        FaceOpsError: a wrong file under its name in `folder`, or no source gave the right bytes.
    """
    found = find_at_hand(weight, folder, cache)
    return found.path if found else fetch(weight, cache)


def resolve(name: str, *, folder: Path | None = None, cache: Path | None = None) -> Path:
    """Return the verified file of the weight `name` in weights.toml.

    `folder` holds weights that the user supplies; `cache` those that were fetched. No network is
    touched when one of them has the file.

    Raises:
        UsageError: no weight of that name.
        FaceOpsError: as `obtain`.
    """
    cache = cache or DEFAULT_CACHE.expanduser()
    return obtain(find_entry(name, read_catalogue()), folder, cache)
