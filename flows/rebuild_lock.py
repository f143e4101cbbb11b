"""One rebuild at a time in a repository."""

from contextlib import AbstractContextManager
from pathlib import Path

from faceops.base.locks import process_lock

# DVC's own folder for such files: git ignores it, and `make clean` leaves it alone.
LOCK_FILE = Path(".dvc") / "tmp" / "rebuild.lock"


def rebuild_lock(root: Path) -> AbstractContextManager[None]:
    """Hold the repository `root` for this rebuild.

    Raises:
        FaceOpsError: another rebuild holds it, or the lock's file cannot be written.
    """
    return process_lock(root / LOCK_FILE, f"{root} is being rebuilt")
