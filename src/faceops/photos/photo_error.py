"""Why a photo could not be opened."""

from pathlib import Path

from faceops.errors import FaceOpsError
from faceops.reasons import Reason


class PhotoError(FaceOpsError):
    """A photo that cannot be used: one sentence for the user, a reason code for its row."""

    def __init__(self, path: Path, reason: Reason, sentence: str) -> None:
        super().__init__(f"{printable(path)} {sentence}")
        self.reason = reason


def printable(path: Path) -> str:
    """Return `path` on one line: control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))
