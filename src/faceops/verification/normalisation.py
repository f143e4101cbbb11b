"""Score normalisation, after which a score means the same in every album.

Adaptive symmetric normalisation (AS-norm: Cumani et al. 2011, Matejka et al. 2017, from speaker
verification) measures the score s of two faces against those of each with a cohort of other people:

    z = ((s - m_a) / d_a + (s - m_b) / d_b) / 2

where m and d are mean and standard deviation of a face's `NEAREST` highest scores with the cohort,
without the very highest (`skipped_of`), which may be of the same person. The cohort is one face of
each group in the album (see `album`), and `SYNTHETIC` random unit vectors around the mean
embedding, which belong to nobody. z does not change when scores are scaled or shifted. Of joined
embeddings it is the weighted sum of the z of each network; docs/the-promise.md says why.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from faceops.verification.verifier import Part, Verifier, columns_of

SYNTHETIC = 300  # enough for a small album, which has few cohort faces of its own
NEAREST = 60
_BLOCK = 4096  # faces compared with the cohort at a time
_LEAST_DEVIATION = 1e-6
# Of z of strangers by SFace and dlib: with it the highest are about as high as with SFace alone,
# for which the limits in `album` were chosen.
_CORRELATION = 0.25

# The rates at which tails are stored, and the two at which an album is measured.
RATES = (
    0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6,
)  # fmt: skip
LOW, HIGH = RATES.index(0.1), RATES.index(0.01)
CAUTION = 0.6  # share of a budget that a threshold aims at


class FrozenModel(BaseModel):
    """A part of release.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Population(FrozenModel):
    """Scores of strangers in one calibration set, normalised with synthetic vectors only."""

    name: str
    people: int
    photos: int
    low: float = Field(description="log odds that 10 % of pairs of strangers reach")
    high: float = Field(description="log odds that 1 % of pairs of strangers reach")


class TailShape(FrozenModel):
    """One point of the scores of strangers, the same in all albums after normalisation."""

    rate: float = Field(description="share of pairs of strangers")
    value: float = Field(description="0 at the score that 10 % reach, 1 at the one that 1 % reach")


class Normalisation(FrozenModel):
    """What a release knows about normalised scores; a part of release.json.

    A raw score is (a - b)^2 . weight, of two embeddings.
    """

    parts: list[Part] = Field(
        [], description="size and share of each network in an embedding; empty: one network"
    )
    weight: list[float] = Field(description="of the verifier's squared differences")
    centre: list[float] = Field(description="mean embedding, one face of each person")
    link: float = Field(description="raw score from which two groups of faces are one person")
    scale: float = Field(description="log odds of a genuine pair are scale z + shift")
    shift: float
    shape: list[TailShape] = Field(description="falling rate")
    populations: list[Population]

    @model_validator(mode="after")
    def _check_parts(self) -> "Normalisation":
        sizes, shares = [part.size for part in self.parts], [part.share for part in self.parts]
        if self.parts and (
            min(sizes) < 1 or sum(sizes) != len(self.weight)
            or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6
        ):  # fmt: skip
            size = len(self.weight)
            raise ValueError(
                f"sizes must add up to {size}, the size of an embedding, and shares to 1"
            )
        return self

    @property
    def curve(self) -> np.ndarray:
        """The values of `shape`, float64 (R,), for `RATES`."""
        return np.array([point.value for point in self.shape])

    @property
    def columns(self) -> list[tuple[slice, float]]:
        """The columns of each network in an embedding, and its share."""
        return columns_of(self.parts, len(self.weight))

    def templates(self, embeddings: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return one embedding for each group of faces, float32 (G, D), such as each person.

        It is their mean, moved away from `centre` until it is as far from it as the faces are on
        average, in each network: the mean of many faces is nearer to `centre`, and scores higher
        with everybody. `embeddings` float32 (N, D), L2-normalised; `groups` int (N,), 0 to G - 1.
        """
        centre, counts = np.array(self.centre), np.bincount(groups)
        result = np.zeros((len(counts), embeddings.shape[1]))
        np.add.at(result, groups, embeddings)
        result /= counts[:, None]
        for columns, share in self.columns:
            middle = centre[columns]
            lengths = np.linalg.norm(embeddings[:, columns] - middle, axis=1)
            mean = result[:, columns] - middle
            wanted = np.bincount(groups, lengths) / counts
            mean *= (wanted / np.maximum(np.linalg.norm(mean, axis=1), 1e-12))[:, None]
            result[:, columns] = unit(middle + mean) * math.sqrt(share)
        return result.astype(np.float32)

    def tail(self, low: float, high: float) -> np.ndarray:
        """Return the scores at `RATES` if 10 % of pairs reach `low` and 1 % `high`."""
        return low + self.curve * (high - low)

    def worst(self, rate: float) -> tuple[str, float]:
        """Return the population with the highest log odds at a `rate` of pairs, and these.

        They are the threshold for an album with too few people to be measured.
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
    return np.exp(-np.where(scores > tail[-1], beyond, np.interp(scores, tail, x)))


def synthetic_cohort(normalisation: Normalisation) -> np.ndarray:
    """Return random embeddings whose mean is about that of faces, float32 (SYNTHETIC, D)."""
    centre = np.array(normalisation.centre)
    random = np.random.default_rng(0).normal(size=(SYNTHETIC, len(centre)))
    result = np.empty(random.shape, np.float32)
    for columns, share in normalisation.columns:
        middle, draw = centre[columns], random[:, columns]
        length = math.sqrt(max(share - float(middle @ middle), 0))
        draw = draw * (length / np.linalg.norm(draw, axis=1, keepdims=True))
        result[:, columns] = unit(draw + middle) * math.sqrt(share)
    return result


def skipped_of(faces: int) -> int:
    """Return how many of the highest scores to leave out where `faces` faces were grouped.

    The more there are, the more faces of one person stayed in groups apart.
    """
    return min(max(faces // 200, 5), 10)


def unit(rows: np.ndarray) -> np.ndarray:
    """Return the rows L2-normalised, as float32."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return (rows / np.maximum(length, 1e-12)).astype(np.float32)


@dataclass(frozen=True)
class NormalisedVerifier(Verifier):
    """Compares described faces: float32 (N, D + 2 P), see `Cohort.describe`.

    It takes the place of a verifier wherever embeddings are compared with it; `weight` is (D,).
    """

    scale: float = 1.0
    shift: float = 0.0

    def networks(self) -> list[tuple[Verifier, slice, int, float]]:
        """Return raw verifier, columns, column of the mean, and weight in the sum of each."""
        parts, size = columns_of(self.parts, len(self.weight)), len(self.weight)
        variance = sum(share**2 for _, share in parts)
        variance += _CORRELATION * (sum(share for _, share in parts) ** 2 - variance)
        return [
            (
                Verifier(self.weight[columns], self.bias, "linear"),
                columns, size + 2 * place, share / math.sqrt(variance),
            )
            for place, (columns, share) in enumerate(parts)
        ]  # fmt: skip

    def logit(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds, float32, for described faces `a` and `b`, broadcast over rows."""
        total: Any = np.float32(self.shift)
        for raw, columns, at, weight in self.networks():
            score = raw.logit(a[..., columns], b[..., columns])
            z = sum((score - one[..., at]) / one[..., at + 1] for one in (a, b)) / 2
            total = total + self.scale * weight * z
        return np.asarray(total, np.float32)

    def logit_matrix(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds float32 (N, M) of every row of `a` with every row of `b`."""
        total: Any = np.float32(self.shift)
        for raw, columns, at, weight in self.networks():
            result = raw.logit_matrix(a[:, columns], b[:, columns])
            half = np.float32(self.scale * weight / 2)
            per_a, per_b = half / a[:, at + 1], half / b[:, at + 1]
            result *= per_a[:, None] + per_b
            result -= (a[:, at] * per_a)[:, None]
            result -= b[:, at] * per_b
            result += total
            total = result
        return np.asarray(total)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Other people, against whose scores a face's scores are measured."""

    normalisation: Normalisation  # of the release
    people: np.ndarray  # float32 (C, D), one embedding of each person of the album, L2-normalised
    skipped: int = skipped_of(0)  # see `skipped_of`

    @cached_property
    def verifier(self) -> NormalisedVerifier:
        """Compares the faces that `describe` returns."""
        known = self.normalisation
        weight = np.array(known.weight, np.float32)
        return NormalisedVerifier(
            weight, 0.0, "linear", parts=tuple(known.parts), scale=known.scale, shift=known.shift
        )

    @cached_property
    def _faces(self) -> np.ndarray:
        return np.concatenate([self.people, synthetic_cohort(self.normalisation)])

    def describe(self, embeddings: np.ndarray) -> np.ndarray:
        """Return `embeddings` float32 (N, D) with mean and deviation of each of P networks.

        float32 (N, D + 2 P); P is 1 unless embeddings of several networks are side by side.
        """
        size, networks = embeddings.shape[1], self.verifier.networks()
        result = np.empty((len(embeddings), size + 2 * len(networks)), np.float32)
        result[:, :size] = embeddings
        for start in range(0, len(embeddings), _BLOCK):
            rows = slice(start, start + _BLOCK)
            for raw, columns, at, _ in networks:
                scores = raw.logit_matrix(embeddings[rows, columns], self._faces[:, columns])
                result[rows, at], result[rows, at + 1] = _statistics(scores, self.skipped)
        return result


def _statistics(scores: np.ndarray, skipped: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation (N,) of each row's highest scores (N, C) but the very highest."""
    top = NEAREST + skipped
    highest = np.partition(scores, scores.shape[1] - top, axis=1)[:, -top:]
    kept = np.partition(highest, NEAREST, axis=1)[:, :NEAREST].astype(np.float64)
    return kept.mean(1), np.maximum(kept.std(1), _LEAST_DEVIATION)
