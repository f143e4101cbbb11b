"""All that a report is written from; nothing is computed a second time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from faceops.verification.thresholds import Thresholds


@dataclass(frozen=True)
class About:
    """What is evaluated, in words.

    `lineage` are pairs of a name and its value; `notes` are further limits.
    """

    name: str
    use: Sequence[str]
    seen: Sequence[str]
    licences: Sequence[str]
    lineage: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """An evaluation and what it was of.

    Attributes:
        figures: as evaluation.json has them; protocols that did not run are not there.
        thresholds: of the release; None where nothing was calibrated.
        verify: as the verify stage wrote verify.json; None where that is not at hand.
    """

    about: About
    figures: dict[str, Any]
    thresholds: Thresholds | None
    verify: dict[str, Any] | None = None
    history: list[dict[str, str]] = field(default_factory=list)
