"""Write a file whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faceops.errors import FaceOpsError


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` by a temporary name beside it, see `replacing`.

    Raises:
        FaceOpsError: the folder cannot be written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise FaceOpsError(
            f"{path} cannot be written ({error.strerror}); free some space or choose another."
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, which then takes the place of `path`.

    After an error, such as a full disk, nothing is left there. The name is always the same one,
    so what a killed run left is overwritten.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
