"""Write aligned faces into one NumPy file as they come, without knowing their number."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from faceops.base.files import atomic_path

_SHAPE = (112, 112, 3)


class CropsFile:
    """A `.npy` of uint8 (N, 112, 112, 3), written row by row; `np.load(path, mmap_mode="r")`.

    Used as a context: the file gets its name when the context ends well, and leaves nothing
    behind when it ends in an error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def __enter__(self) -> "CropsFile":
        with ExitStack() as opening:
            temporary = opening.enter_context(atomic_path(self._path))
            self._file = opening.enter_context(temporary.open("wb"))
            self._header()
            self._start = self._file.tell()
            self._opened = opening.pop_all()
        return self

    def append(self, crop: np.ndarray) -> int:
        """Write `crop`, uint8 (112, 112, 3), and return its row."""
        if crop.shape != _SHAPE or crop.dtype != np.uint8:
            raise ValueError(f"a crop must be uint8 {_SHAPE}, not {crop.dtype} {crop.shape}")
        self._file.write(crop.tobytes())
        self.count += 1
        return self.count - 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._file.seek(0)
            self._header()  # now with the count; NumPy pads headers so that the first axis may grow
            assert self._file.tell() == self._start
        self._opened.__exit__(kind, error, trace)

    def _header(self) -> None:
        form = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *_SHAPE)}
        np.lib.format.write_array_header_1_0(self._file, form)
