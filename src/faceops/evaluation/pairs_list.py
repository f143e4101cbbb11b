"""LFW's lists of pairs (Huang et al. 2007): `pairs.txt`, `pairsDevTrain.txt`, `pairsDevTest.txt`.

The first line says how many folds (none: one) and how many pairs of each kind a fold holds, first
those of one person (`name n m`), then those of two (`name n other m`). A photo is a person's name
and a number: `Ada_Lind 2` is Ada_Lind_0002.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.evaluation.embedded_faces import EmbeddedFaces

_MISSING = -1


@dataclass(frozen=True)
class PairsList:
    """Photos by name without ending, text (N,); `same` bool (N,); `fold` int (N,)."""

    file: Path
    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray

    @property
    def photos(self) -> np.ndarray:
        """The photos named, text (P,), sorted, each once."""
        return np.unique(np.concatenate([self.first, self.second]))

    def rows(self, faces: EmbeddedFaces) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows int (N,), (N,) of the two photos in `faces`; -1 for one without a face.

        Raises:
            FaceOpsError: a photo is neither among the faces nor among those without one.
        """
        place = {_name(path): _MISSING for path in faces.missing}
        place |= {_name(path): row for row, path in enumerate(faces.paths)}
        absent = [photo for photo in self.photos if photo not in place]
        if absent:
            raise FaceOpsError(
                f"{len(absent)} of the {len(self.photos):,} photos that {self.file} names are not "
                f"in the data, the first is {absent[0]}.jpg; import all of LFW, "
                "`faceops data import lfw FOLDER`."
            )
        first, second = (np.array([place[p] for p in side]) for side in (self.first, self.second))
        return first, second

    def named(self, faces: EmbeddedFaces) -> EmbeddedFaces:
        """Return the faces of the photos named, sorted by name, with those that have none."""
        wanted = set(self.photos.tolist())
        names = np.array([_name(path) for path in faces.paths])
        rows = np.array([row for row in np.argsort(names) if names[row] in wanted], dtype=int)
        missing = tuple(path for path in faces.missing if _name(path) in wanted)
        return replace(faces.of(rows), missing=missing)


def read_pairs_list(file: Path) -> PairsList:
    """Read a list of pairs.

    Raises:
        FaceOpsError: the file is absent, has a line that is no pair, or not the stated number.
    """
    try:
        lines = [line.split() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise FaceOpsError(f"{file} cannot be read as a list of pairs ({error}).") from None
    try:
        head = [int(part) for part in lines[0]]
        folds, each = head if len(head) == 2 else (1, *head)
    except (IndexError, ValueError):
        raise FaceOpsError(
            f"{file} line 1 is no count of pairs; the list starts with `folds pairs` or `pairs`."
        ) from None
    pairs = [_pair(file, number, parts) for number, parts in enumerate(lines[1:], start=2)]
    same = np.array([one for _, _, one in pairs], dtype=bool)
    stated = np.tile(np.repeat([True, False], each), folds)
    if not np.array_equal(same, stated):
        raise FaceOpsError(
            f"{file} says {folds} x {each} pairs of one person and as many of two, but holds "
            f"{int(same.sum())} and {int((~same).sum())}, or in another order; get the list anew."
        )
    first, second = (np.array([pair[side] for pair in pairs], dtype=str) for side in (0, 1))
    return PairsList(file, first, second, same, np.arange(len(pairs)) // (2 * each))


def _pair(file: Path, number: int, parts: Sequence[str]) -> tuple[str, str, bool]:
    try:
        if len(parts) == 3:
            return _photo(parts[0], parts[1]), _photo(parts[0], parts[2]), True
        one, n, other, m = parts
        return _photo(one, n), _photo(other, m), False
    except ValueError:
        raise FaceOpsError(
            f"{file} line {number} is no pair: {' '.join(parts)!r}; it takes `name n m` or "
            "`name n other m`."
        ) from None


def _photo(person: str, number: str) -> str:
    return f"{person}_{int(number):04d}"


def _name(path: str) -> str:
    return PurePosixPath(path).stem
