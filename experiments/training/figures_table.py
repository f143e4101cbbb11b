"""The table of an experiment: each figure beside the published one and the aim."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.training.read_settings import ROOT
from faceops.base.files import write_json
from faceops.evaluation.figures import rounded
from faceops.evaluation.shown import shown_interval, shown_share

RESULTS = ROOT / "experiments" / "results"
HEADER = ("figure", "published", "ours", "spread or 95 % interval", "aim", "reached?")


@dataclass(frozen=True)
class Figure:
    """One share, higher being better.

    spread: standard deviation over draws; interval: {"low", "high"} over people.
    aim: what ours must be at least; above: it must lie above the aim.
    """

    name: str
    ours: float
    published: float | None = None
    aim: float | None = None
    above: bool = False
    spread: float | None = None
    interval: dict[str, float | None] | None = None

    @property
    def verdict(self) -> str:
        """Whether the aim is reached, or how much is lacking; "" without an aim."""
        if self.aim is None:
            return ""
        if self.ours == self.aim and self.above:
            return "equal, not above"
        return "reached" if self.ours >= self.aim else f"short by {self.aim - self.ours:.4f}"

    def row(self) -> list[str]:
        """Return the cells of a table."""
        varies = shown_interval(self.interval)
        if self.spread is not None:
            varies = f"± {self.spread:.4f}"
        aim = "" if self.aim is None else "above " * self.above + shown_share(self.aim)
        published = "" if self.published is None else shown_share(self.published)
        return [self.name, published, shown_share(self.ours), varies, aim, self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """Return what is stated, for JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None} | {
            "verdict": self.verdict
        }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures_table(figures: Sequence[Figure]) -> str:
    """Return the Markdown table of `figures`."""
    return table(HEADER, [figure.row() for figure in figures])


def write_results(
    name: str,
    title: str,
    command: str,
    parts: Sequence[str],
    facts: Mapping[str, str],
    content: Mapping[str, Any],
    folder: Path = RESULTS,
) -> str:
    """Write `folder`/`name`.json and .md, and return the latter.

    Args:
        title: the first line of the Markdown.
        command: which gives these figures.
        parts: paragraphs and tables of the Markdown.
        facts: what the figures depend on, in words.
        content: of the JSON, beside the facts.
    """
    told = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    text = "\n\n".join([f"# {title}", f"```sh\n{command}\n```", *parts, told]) + "\n"
    write_json(folder / f"{name}.json", rounded({**content, "facts": dict(facts)}))
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return text
