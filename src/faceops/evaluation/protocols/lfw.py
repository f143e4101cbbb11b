"""Labeled Faces in the Wild (Huang et al. 2007): its lists of pairs, View 1 and View 2.

View 1, for choosing models: pairsDevTrain.txt sets the threshold, pairsDevTest.txt is scored;
no person is in both. View 2, for reporting: pairs.txt has ten folds, each scored at the threshold
of the other nine. Some thirty errors in 6,000 pairs hardly separate models, so all pairs of the
same photos are scored as well: TAR at FAR, and rank-1 among all their people.

The first line of a list says how many folds (none: one) and how many pairs of each kind a fold
has, first genuine ones (`name n m`), then impostor ones (`name n other m`). A photo is a person's
name and a number: `Ada_Lind 2` is Ada_Lind_0002.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import roc
from faceops.evaluation.protocols.all_pairs import all_pairs_figures, scan_pairs
from faceops.evaluation.protocols.identification import closed_set
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import pairs_interval
from faceops.verification.pairs import codes
from faceops.verification.thresholds import as_threshold
from faceops.verification.verifier import Verifier, reaches

FARS = (1e-3, 1e-4, 1e-5)
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
        """The photos listed, text (P,), sorted, each once."""
        return np.unique(np.concatenate([self.first, self.second]))

    def rows(self, faces: EmbeddedFaces) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows int (N,), (N,) of the two photos in `faces`; -1 for one without a face.

        Raises FaceOpsError: a photo is neither among the faces nor among those without one.
        """
        place = {_name(path): _MISSING for path in faces.missing}
        place |= {_name(path): row for row, path in enumerate(faces.paths)}
        absent = [photo for photo in self.photos if photo not in place]
        if absent:
            raise FaceOpsError(
                f"{len(absent)} of the {len(self.photos):,} photos that {self.file} lists are not "
                f"in the data, the first is {absent[0]}.jpg; import all of LFW, "
                "`faceops data import lfw FOLDER`."
            )
        first, second = (np.array([place[p] for p in side]) for side in (self.first, self.second))
        return first, second

    def listed(self, faces: EmbeddedFaces) -> EmbeddedFaces:
        """Return the faces of the photos listed, sorted by name, with those that have none."""
        wanted = set(self.photos.tolist())
        names = np.array([_name(path) for path in faces.paths])
        rows = np.array([row for row in np.argsort(names) if names[row] in wanted], dtype=int)
        missing = tuple(path for path in faces.missing if _name(path) in wanted)
        return replace(faces.of(rows), missing=missing)


def read_pairs_list(file: Path) -> PairsList:
    """Read a list of pairs.

    Raises:
        FaceOpsError: the file is absent, has a line that is not a pair, or not the stated number.
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
            f"{file} line 1 is not a pair count; the list starts with `folds pairs` or `pairs`."
        ) from None
    pairs = [_pair(file, number, parts) for number, parts in enumerate(lines[1:], start=2)]
    same = np.array([one for _, _, one in pairs], dtype=bool)
    stated = np.tile(np.repeat([True, False], each), folds)
    if not np.array_equal(same, stated):
        raise FaceOpsError(
            f"{file} says {folds} x {each} pairs of one person and as many of two, but has "
            f"{int(same.sum())} and {int((~same).sum())}, or in another order; get the list again."
        )
    first, second = (np.array([pair[side] for pair in pairs], dtype=str) for side in (0, 1))
    return PairsList(file, first, second, same, np.arange(len(pairs)) // (2 * each))


def _pair(file: Path, number: int, parts: Sequence[str]) -> tuple[str, str, bool]:
    try:
        same = len(parts) == 3
        one, n, other, m = [*parts[:2], *parts[:1], parts[2]] if same else parts
        return f"{one}_{int(n):04d}", f"{other}_{int(m):04d}", same
    except ValueError:
        raise FaceOpsError(
            f"{file} line {number} is not a pair: {' '.join(parts)!r}; it takes `name n m` or "
            "`name n other m`."
        ) from None


def _name(path: str) -> str:
    return PurePosixPath(path).stem


@dataclass(frozen=True)
class ListedPairs:
    """Log odds float32 (N,), -inf with a photo without a face, and the two people of each pair."""

    scores: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    first_person: np.ndarray
    second_person: np.ndarray

    def interval(self, correct: np.ndarray, seed: int) -> dict[str, float]:
        """Return the 95 % interval of the share of `correct` decisions bool (N,), over people."""
        return pairs_interval(correct, self.first_person, self.second_person, seed)


def score_list(faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList) -> ListedPairs:
    """Score every pair of the list; a photo without a face matches no other.

    Raises FaceOpsError: a photo is not in the data.
    """
    first, second = pairs.rows(faces)
    scores = np.full(len(pairs.same), -np.inf, np.float32)
    there = (first >= 0) & (second >= 0)
    scores[there] = verifier.logit(faces.embeddings[first[there]], faces.embeddings[second[there]])
    photos = np.concatenate([pairs.first, pairs.second])
    whose = codes(np.array([name.rpartition("_")[0] for name in photos]))
    return ListedPairs(scores, pairs.same, pairs.fold, whose[: len(scores)], whose[len(scores) :])


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the score at or above which to accept, for most right decisions.

    `scores` float (N,), `same` bool (N,). Candidates are the scores themselves; the middle one
    where several are best.
    """
    candidates = np.unique(scores)
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    right = genuine.size - np.searchsorted(genuine, candidates)
    right = right + np.searchsorted(impostor, candidates)
    best = candidates[right == right.max()]
    return float(best[best.size // 2])


def _listed_photos_figures(
    faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList, seed: int
) -> dict[str, Any]:
    """Return the figures of all pairs of the photos that a list names, and rank-1 among them."""
    listed = pairs.listed(faces)
    known = closed_set(listed, verifier).figures(seed)
    return {
        "photos": len(listed) + len(listed.missing),
        "photos_without_face": len(listed.missing),
        **all_pairs_figures(scan_pairs(listed, verifier, FARS), FARS, seed),
        **{key: value for key, value in known.items() if "rank_5" not in key},
    }


@dataclass(frozen=True)
class LfwView1:
    """The scored pairs of pairsDevTest.txt and the threshold, in log odds, of pairsDevTrain.txt."""

    test: ListedPairs
    threshold: float
    all_pairs: dict[str, Any]  # of the photos of pairsDevTest.txt

    def figures(self, seed: int) -> dict[str, Any]:
        """The accuracy with its interval over people, the threshold, and the AUC."""
        scores, same = self.test.scores, self.test.same
        correct = reaches(scores, self.threshold) == same
        return {
            "accuracy": float(correct.mean()),
            "accuracy_interval": self.test.interval(correct, seed),
            "pairs": len(correct),
            "threshold": as_threshold(self.threshold),
            "roc_auc": roc(scores[same], scores[~same]).auc,
            "all_pairs": self.all_pairs,
        }


def lfw_view1(
    faces: EmbeddedFaces, verifier: Verifier, train: PairsList, test: PairsList, seed: int = 0
) -> LfwView1:
    """Choose the threshold on `train` (pairsDevTrain.txt), score `test` (pairsDevTest.txt).

    Raises FaceOpsError: a photo is not in the data.
    """
    chosen_on = score_list(faces, verifier, train)
    return LfwView1(
        score_list(faces, verifier, test),
        best_threshold(chosen_on.scores, chosen_on.same),
        _listed_photos_figures(faces, verifier, test, seed),
    )


def fold_decisions(scored: ListedPairs) -> np.ndarray:
    """Return which pairs are accepted, bool (N,), each fold at the threshold of the others."""
    accepted = np.zeros(len(scored.same), bool)
    for number in np.unique(scored.fold):
        fold = scored.fold == number
        threshold = best_threshold(scored.scores[~fold], scored.same[~fold])
        accepted[fold] = reaches(scored.scores[fold], threshold)
    return accepted


def lfw_view2_figures(
    faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList, seed: int
) -> dict[str, Any]:
    """Return the mean accuracy of the folds of `pairs` (pairs.txt) and its standard error.

    With them come the figures of all pairs of the list's photos.

    Raises FaceOpsError: a photo is not in the data.
    """
    scored = score_list(faces, verifier, pairs)
    correct = fold_decisions(scored) == scored.same
    accuracy = np.bincount(scored.fold, correct) / np.bincount(scored.fold)
    return {
        "accuracy": float(accuracy.mean()),
        "accuracy_standard_error": float(accuracy.std(ddof=1) / np.sqrt(len(accuracy))),
        "accuracy_interval": scored.interval(correct, seed),
        "fold_accuracy": [float(fold) for fold in accuracy],
        "pairs": len(correct),
        "all_pairs": _listed_photos_figures(faces, verifier, pairs, seed),
    }
