"""Write a file whole or not at all."""

from pathlib import Path

from faceops.errors import FaceOpsError


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` by a temporary name beside it, then rename.

    The temporary name is always the same one, so what an interrupted run left is overwritten.

    Raises:
        FaceOpsError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise FaceOpsError(
            f"{path} cannot be written ({error.strerror}); free some space or choose another."
        ) from None
