"""Why a photo could not be opened."""

from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.reasons import Reason


class PhotoError(FaceOpsError):
    """A photo that cannot be used: one sentence for the user, a reason code for its row.

    `sentence` is the part after the file's name, such as "is empty; copy it again or remove it."
    `transient` when the file's bytes are not to blame (the disk, permissions, memory): the same
    bytes may open another time.
    """

    def __init__(
        self, path: Path, reason: Reason, sentence: str, *, transient: bool = False
    ) -> None:
        super().__init__(f"{printable(path)} {sentence}")
        self.sentence = sentence
        self.reason = reason
        self.transient = transient


def printable(path: Path) -> str:
    """Return `path` on one line: control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))
