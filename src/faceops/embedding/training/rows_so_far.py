"""Rows of a long pass, kept on disk while it goes on, so that a killed one need not begin again."""

import time
from pathlib import Path

import numpy as np

from faceops.base.files import write_file

SAVED_EVERY_S = 20


class RowsSoFar:
    """A memory-mapped float16 array in the making, beside it the count of its first good rows.

    Without a count that fits it is begun anew: never is a row taken for good that was not flushed
    before it was counted.

    Attributes:
        rows: float16 of `shape`, to be filled in order.
        done: how many a killed run has filled.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Open what a killed run left for `path` of that `shape`, or begin it."""
        self._path = path
        self._making, self._counted = path.with_suffix(".tmp"), path.with_suffix(".count")
        self.done = self._good(shape)
        if not self.done:
            self._counted.unlink(missing_ok=True)  # it is of rows that are not there
        mode = "r+" if self.done else "w+"
        self.rows = np.lib.format.open_memmap(self._making, mode, np.float16, shape)
        self._saved_at = time.monotonic()

    def _good(self, shape: tuple[int, ...]) -> int:
        """Return how many rows are good; a count that another file or a full disk left is none."""
        try:
            count = self._counted.read_text("ascii")
            begun = np.load(self._making, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError):
            return 0
        fits = begun.shape == shape and begun.dtype == np.float16 and count.isdecimal()
        return int(count) if fits and int(count) <= len(begun) else 0

    def reached(self, done: int) -> None:
        """Take note, now and then, that the first `done` rows are filled."""
        if time.monotonic() - self._saved_at > SAVED_EVERY_S:
            self.rows.flush()
            write_file(self._counted, str(min(done, len(self.rows))))
            self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Give the file its name: all rows are filled."""
        self.rows.flush()
        self._making.replace(self._path)
        self._counted.unlink(missing_ok=True)
