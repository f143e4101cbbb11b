"""Score normalisation, after which a score means the same in every album.

How similar two strangers look to an embedder depends on who they are: children resemble each other
more than adults do, and so do blurred faces. Adaptive symmetric normalisation (AS-norm: Cumani et
al. 2011, Matejka et al. 2017, from speaker verification) measures the score s of two faces against
those that each of them reaches with a cohort of other people:

    z = ((s - m_a) / d_a + (s - m_b) / d_b) / 2

where m and d are mean and standard deviation of a face's `NEAREST` highest scores with the cohort.
The very highest are left out, as they may be of the same person; more of them, the more faces were
grouped (`skipped_of`). The cohort is one face of each person in the album, as far as they can be
told apart (see `album`), and `SYNTHETIC` random unit vectors around the mean embedding, which
belong to nobody and are enough where an album is small. z does not change when scores are scaled
or shifted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from faceops.verification.verifier import Verifier

SYNTHETIC = 300
NEAREST = 60
_BLOCK = 4096  # faces compared with the cohort at a time
_LEAST_DEVIATION = 1e-6

# The rates at which tails are stored, and the two at which an album is measured.
RATES = (
    0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6,
)  # fmt: skip
LOW, HIGH = RATES.index(0.1), RATES.index(0.01)
CAUTION = 0.8  # share of a budget that a threshold aims at


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Population(_Frozen):
    """Scores of strangers in one calibration set, normalised with synthetic vectors only."""

    name: str
    people: int
    photos: int
    low: float = Field(description="log odds that 10 % of pairs of strangers reach")
    high: float = Field(description="log odds that 1 % of pairs of strangers reach")


class TailShape(_Frozen):
    """One point of the scores of strangers, the same in all albums after normalisation."""

    rate: float = Field(description="share of pairs of strangers")
    value: float = Field(description="0 at the score that 10 % reach, 1 at the one that 1 % reach")


class Normalisation(_Frozen):
    """What a release knows about normalised scores; a part of release.json.

    A raw score is (a - b)^2 . weight, of two embeddings.
    """

    weight: list[float] = Field(description="of the verifier's squared differences")
    centre: list[float] = Field(description="mean embedding, one face of each person")
    link: float = Field(description="raw score from which two groups of faces are one person")
    scale: float = Field(description="log odds of a genuine pair are scale z + shift")
    shift: float
    shape: list[TailShape] = Field(description="falling rate")
    populations: list[Population]

    @property
    def curve(self) -> np.ndarray:
        """The values of `shape`, float64 (R,), for `RATES`."""
        return np.array([point.value for point in self.shape])

    def tail(self, low: float, high: float) -> np.ndarray:
        """Return the scores at `RATES` if 10 % of pairs reach `low` and 1 % `high`."""
        return low + self.curve * (high - low)

    def worst(self, rate: float) -> tuple[str, float]:
        """Return the population with the highest log odds at a `rate` of pairs, and these.

        They are the threshold for an album that cannot say.
        """
        found = ((at_rate(self.tail(p.low, p.high), rate), p.name)
                 for p in self.populations)  # fmt: skip
        odds, name = max(found)
        return name, odds


def pair_rate(budget: float, enrolled: float) -> float:
    """Return the share of pairs of strangers that may reach a threshold to keep an FPIR `budget`.

    `enrolled` people have one photo each, see `effective_people`. A budget is the most that may
    happen, and the tails of calibration sets differ by about a fifth: hence `CAUTION`.
    """
    return float(-np.expm1(np.log1p(-CAUTION * budget) / enrolled))


def at_rate(tail: np.ndarray, rate: float) -> float:
    """Return the score that a share `rate` reaches; `tail` (R,) are the scores at `RATES`.

    Linear in the logarithm of the rate, also beyond the last one. Above the first rate its score.
    """
    x, wanted = -np.log(RATES), -math.log(rate)
    if wanted <= x[-1]:
        return float(np.interp(wanted, x, tail))
    slope = (tail[-1] - tail[-2]) / (x[-1] - x[-2])
    return float(tail[-1] + slope * (wanted - x[-1]))


def rate_at(tail: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the share of pairs that reaches each of `scores`, the inverse of `at_rate`."""
    x = -np.log(RATES)
    slope = (tail[-1] - tail[-2]) / (x[-1] - x[-2])
    beyond = x[-1] + np.maximum(scores - tail[-1], 0) / max(slope, 1e-9)
    result: np.ndarray = np.exp(-np.where(scores > tail[-1], beyond, np.interp(scores, tail, x)))
    return result


def synthetic_cohort(centre: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return float32 (SYNTHETIC, D): random unit vectors whose mean is about `centre`."""
    middle = np.asarray(centre, np.float64)
    draw = np.random.default_rng(0).normal(size=(SYNTHETIC, len(middle)))
    length = math.sqrt(max(1 - float(middle @ middle), 0))
    draw *= length / np.linalg.norm(draw, axis=1, keepdims=True)
    return unit(draw + middle)


def skipped_of(faces: int) -> int:
    """Return how many of the highest scores to leave out where `faces` faces were grouped."""
    return min(max(faces // 200, 5), 10)


def unit(rows: np.ndarray) -> np.ndarray:
    """Return the rows L2-normalised, as float32."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: np.ndarray = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return result


@dataclass(frozen=True)
class NormalisedVerifier(Verifier):
    """Compares described faces: float32 (N, D + 2), embedding, mean and deviation of `describe`.

    It takes the place of a verifier wherever embeddings are compared with it; `weight` is (D,).
    """

    scale: float = 1.0
    shift: float = 0.0

    def logit(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds, float32, for described faces `a` and `b`, broadcast over rows."""
        raw = super().logit(a[..., :-2], b[..., :-2])
        z = ((raw - a[..., -2]) / a[..., -1] + (raw - b[..., -2]) / b[..., -1]) / 2
        result: np.ndarray = (self.scale * z + self.shift).astype(np.float32)
        return result

    def logit_matrix(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds float32 (N, M) of every row of `a` with every row of `b`."""
        result = super().logit_matrix(a[:, :-2], b[:, :-2])
        half = np.float32(self.scale / 2)
        per_a, per_b = half / a[:, -1], half / b[:, -1]
        result *= per_a[:, None] + per_b
        result -= (a[:, -2] * per_a)[:, None]
        result += np.float32(self.shift) - b[:, -2] * per_b
        return result


@dataclass(frozen=True, eq=False)
class Cohort:
    """Other people, against whose scores a face's scores are measured.

    Attributes:
        normalisation: of the release.
        people: float32 (C, D), one embedding of each person of the album, L2-normalised.
        skipped: see `skipped_of`.
    """

    normalisation: Normalisation
    people: np.ndarray
    skipped: int = skipped_of(0)

    @cached_property
    def verifier(self) -> NormalisedVerifier:
        """Compares the faces that `describe` returns."""
        known = self.normalisation
        weight = np.array(known.weight, np.float32)
        return NormalisedVerifier(weight, 0.0, "linear", scale=known.scale, shift=known.shift)

    @cached_property
    def _faces(self) -> np.ndarray:
        return np.concatenate([self.people, synthetic_cohort(self.normalisation.centre)])

    def describe(self, embeddings: np.ndarray) -> np.ndarray:
        """Return `embeddings` float32 (N, D) with mean and deviation appended, (N, D + 2)."""
        result = np.empty((len(embeddings), embeddings.shape[1] + 2), np.float32)
        result[:, :-2] = embeddings
        weight = self.verifier.weight
        for start in range(0, len(embeddings), _BLOCK):
            part = slice(start, start + _BLOCK)
            scores = Verifier(weight, 0.0, "linear").logit_matrix(embeddings[part], self._faces)
            result[part, -2], result[part, -1] = _statistics(scores, self.skipped)
        return result


def _statistics(scores: np.ndarray, skipped: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation (N,) of each row's highest scores (N, C) but the very highest."""
    top = NEAREST + skipped
    highest = np.partition(scores, scores.shape[1] - top, axis=1)[:, -top:]
    kept = np.partition(highest, NEAREST, axis=1)[:, :NEAREST].astype(np.float64)
    return kept.mean(1), np.maximum(kept.std(1), _LEAST_DEVIATION)
