"""LFW View 1 (Huang et al. 2007): for choosing models; one list sets the threshold, one is scored.

Nobody is in both lists.

LFW View 2 (Huang et al. 2007): ten folds, each judged by the threshold of the other nine.

Some thirty errors in 6,000 pairs tell little apart, so all pairs of the same photos are scored
as well: TAR at FAR, and rank-1 among all their people.

LFW's lists of pairs (Huang et al. 2007): `pairs.txt`, `pairsDevTrain.txt`, `pairsDevTest.txt`.

The first line says how many folds (none: one) and how many pairs of each kind a fold holds, first
those of one person (`name n m`), then those of two (`name n other m`). A photo is a person's name
and a number: `Ada_Lind 2` is Ada_Lind_0002.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.all_pairs import scan_pairs
from faceops.evaluation.protocols.closed_set import closed_set
from faceops.evaluation.protocols.roc import best_threshold, roc_auc
from faceops.evaluation.protocols.verification import all_pairs_figures
from faceops.verification.bootstrap import pairs_interval
from faceops.verification.pairs import codes
from faceops.verification.thresholds import as_threshold
from faceops.verification.verifier import Verifier

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


FARS = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class ListedPairs:
    """Log odds float32 (N,), -inf with a photo without a face, and the two people of each pair."""

    scores: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    first_person: np.ndarray
    second_person: np.ndarray

    def interval(self, right: np.ndarray, seed: int) -> dict[str, float]:
        """Return the 95 % interval of the share of `right` decisions bool (N,), over people."""
        return pairs_interval(right, self.first_person, self.second_person, seed)


def score_list(faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList) -> ListedPairs:
    """Score every pair of the list; a photo without a face matches nobody.

    Raises:
        FaceOpsError: a photo is not in the data.
    """
    first, second = pairs.rows(faces)
    scores = np.full(len(pairs.same), -np.inf, np.float32)
    there = (first >= 0) & (second >= 0)
    scores[there] = verifier.logit(faces.embeddings[first[there]], faces.embeddings[second[there]])
    people = [np.array([name.rpartition("_")[0] for name in side])
              for side in (pairs.first, pairs.second)]  # fmt: skip
    whose = codes(np.concatenate(people))
    return ListedPairs(scores, pairs.same, pairs.fold, whose[: len(scores)], whose[len(scores) :])


def named_photos_figures(
    faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList, fars: Sequence[float], seed: int
) -> dict[str, Any]:
    """Return the figures of all pairs of the photos that a list names, and rank-1 among them.

    The few thousand pairs of a list cannot tell good models apart; millions can.
    """
    named = pairs.named(faces)
    known = closed_set(named, verifier).figures(seed)
    return {
        "photos": len(named) + len(named.missing),
        "photos_without_face": len(named.missing),
        **all_pairs_figures(scan_pairs(named, verifier, fars), fars, seed),
        **{key: value for key, value in known.items() if "rank_5" not in key},
    }


@dataclass(frozen=True)
class LfwView1:
    """The scored pairs of pairsDevTest.txt and the threshold, in log odds, of pairsDevTrain.txt."""

    test: ListedPairs
    threshold: float
    all_pairs: dict[str, Any]  # of the photos of pairsDevTest.txt

    @property
    def accuracy(self) -> float:
        """The share of the test list's pairs that are decided rightly."""
        return float(((self.test.scores >= self.threshold) == self.test.same).mean())

    def figures(self, seed: int) -> dict[str, Any]:
        """The accuracy with its interval over people, the threshold held, and the AUC."""
        right = (self.test.scores >= self.threshold) == self.test.same
        scores, same = self.test.scores, self.test.same
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": self.test.interval(right, seed),
            "pairs": len(right),
            "threshold": as_threshold(self.threshold),
            "roc_auc": roc_auc(scores[same], scores[~same]),
            "all_pairs": self.all_pairs,
        }


def lfw_view1(
    faces: EmbeddedFaces, verifier: Verifier, train: PairsList, test: PairsList, seed: int = 0
) -> LfwView1:
    """Choose the threshold on `train` (pairsDevTrain.txt), score `test` (pairsDevTest.txt).

    A photo without a face matches nobody.

    Raises:
        FaceOpsError: a photo is not in the data.
    """
    chosen_on = score_list(faces, verifier, train)
    return LfwView1(
        score_list(faces, verifier, test),
        best_threshold(chosen_on.scores, chosen_on.same),
        named_photos_figures(faces, verifier, test, FARS, seed),
    )


@dataclass(frozen=True)
class LfwView2:
    """The scored pairs of pairs.txt; `right` bool (N,): decided rightly; all pairs' figures."""

    pairs: ListedPairs
    right: np.ndarray
    all_pairs: dict[str, Any]

    @property
    def accuracies(self) -> np.ndarray:
        """The accuracy of each fold, float64 (F,)."""
        return np.bincount(self.pairs.fold, self.right) / np.bincount(self.pairs.fold)

    def figures(self, seed: int) -> dict[str, Any]:
        """Mean accuracy of the folds, its standard error and its interval over people."""
        folds = self.accuracies
        return {
            "accuracy": float(folds.mean()),
            "accuracy_standard_error": float(folds.std(ddof=1) / np.sqrt(len(folds))),
            "accuracy_interval": self.pairs.interval(self.right, seed),
            "fold_accuracy": [float(fold) for fold in folds],
            "pairs": len(self.right),
            "all_pairs": self.all_pairs,
        }


def lfw_view2(faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList, seed: int) -> LfwView2:
    """Score `pairs` (pairs.txt) and all pairs of its photos; one without a face matches nobody.

    Raises:
        FaceOpsError: a photo is not in the data.
    """
    scored = score_list(faces, verifier, pairs)
    right = np.zeros(len(scored.same), bool)
    for fold in np.unique(scored.fold):
        held = scored.fold == fold
        threshold = best_threshold(scored.scores[~held], scored.same[~held])
        right[held] = (scored.scores[held] >= threshold) == scored.same[held]
    return LfwView2(scored, right, named_photos_figures(faces, verifier, pairs, FARS, seed))
