"""Tables of the training experiments: figures beside published ones, and paired differences.

A difference of two models is compared with its standard error: whole people are drawn with
replacement (Efron 1979), the same ones for both models, and the standard error is the standard
deviation of the difference over the resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.evaluation.report.document import shown_interval, shown_share
from faceops.verification.bootstrap import resampled_pair_shares, resampled_shares

FIGURES = ("figure", "published", "ours", "s.d. or 95 % interval")
GAINS = ("figure", "before", "after", "difference", "standard error", "result")


@dataclass(frozen=True)
class Figure:
    """A rate, higher being better.

    spread: standard deviation over draws; interval: {"low", "high"}, 95 % over people.
    """

    name: str
    ours: float
    published: float | None = None
    spread: float | None = None
    interval: dict[str, float | None] | None = None

    def row(self) -> list[str]:
        """Return the cells of a table."""
        varies = shown_interval(self.interval)
        if self.spread is not None:
            varies = f"± {self.spread:.4f}"
        published = "" if self.published is None else shown_share(self.published)
        return [self.name, published, shown_share(self.ours), varies]


@dataclass(frozen=True)
class Gain:
    """A rate of two models, and the standard error of the difference."""

    name: str
    old: float
    new: float
    standard_error: float

    @property
    def result(self) -> str:
        """Return "better", "worse", or "within one standard error"."""
        gain = self.new - self.old
        if abs(gain) <= self.standard_error:
            return "within one standard error"
        return "better" if gain > 0 else "worse"

    def row(self) -> list[str]:
        """Return the cells of a table."""
        difference, error = f"{self.new - self.old:+.4f}", f"{self.standard_error:.4f}"
        shares = [shown_share(value) for value in (self.old, self.new)]
        return [self.name, *shares, difference, error, self.result]


def share_gain(name: str, old: np.ndarray, new: np.ndarray, person: np.ndarray, seed: int) -> Gain:
    """Compare the means of `old` and `new` (N,); `person` int (N,) identifies whose each is."""
    difference = new.astype(float) - old.astype(float)
    error = resampled_shares(difference, person, seed).std(ddof=1)
    return Gain(name, float(old.mean()), float(new.mean()), float(error))


def pairs_gain(
    name: str, old: np.ndarray, new: np.ndarray, people: tuple[np.ndarray, np.ndarray], seed: int
) -> Gain:
    """Compare right decisions, bool (N,), on pairs of `people`, two int arrays (N,)."""
    difference = new.astype(float) - old.astype(float)
    error = resampled_pair_shares(difference, *people, seed).std(ddof=1)
    return Gain(name, float(old.mean()), float(new.mean()), float(error))


def table(header: Sequence[str], rows: Sequence[Figure | Gain]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *(row.row() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def print_results(
    name: str, title: str, parts: Sequence[str], facts: Mapping[str, str], out: Path
) -> None:
    """Print a page of Markdown, and write it to `out`/`name`.md.

    Args:
        parts: paragraphs and tables.
        facts: what the figures depend on.
    """
    stated = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    text = "\n\n".join([f"# {title}", *parts, stated])
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)
