"""Errors that are reported to the user as one sentence, without a traceback."""

from pathlib import Path


class FaceOpsError(Exception):
    """The job failed: the message names the file, key or value and what to do (exit code 1)."""

    exit_code = 1


class UsageError(FaceOpsError):
    """A wrong argument or parameter file (exit code 2)."""

    exit_code = 2


class StoreError(FaceOpsError):
    """A request to MLflow's store failed; it may succeed later."""


def printable(path: Path) -> str:
    """Return `path` on one line: control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))
