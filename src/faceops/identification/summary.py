"""What a run did, in figures."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from faceops.identification.decide import Outcome
from faceops.identification.engine import NamedPhoto


@dataclass
class Summary:
    """The content of summary.json; counts are of faces where nothing else is said.

    `photos_opened` were read and decoded in this run, `photos_reused` came from an earlier one.
    `decisions` and `reasons` count rows: faces, and photos without any. `people` are the names
    given with their number of faces. `threshold_measured` is False when so small a budget in so
    large a gallery lies beyond the pairs that the release was measured on. Times in seconds:
    `seconds` by the wall clock up to the report; `timings` of the parts look (open, find faces),
    embed, name and write (rows), added over threads, so their sum may be more.
    """

    run_id: str
    photos_folder: str
    started: str
    release: str
    contract_id: str
    budget: float
    threshold: float | None
    threshold_measured: bool
    runner_up_margin: float
    gallery_people: int
    gallery_faces: int
    photos: int = 0
    photos_opened: int = 0
    photos_reused: int = 0
    faces: int = 0
    identified: int = 0
    unknown: int = 0
    rejected: int = 0
    rejected_photos: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    photos_per_second: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)

    def add(self, named: NamedPhoto) -> None:
        """Count one photo."""
        self.photos += 1
        self.photos_opened += named.opened
        # A file that could not even be read is neither opened nor reused.
        self.photos_reused += not named.opened and named.photo.photo_id is not None
        self.faces += len(named.photo.faces)
        if not named.photo.faces:
            self.rejected_photos += 1
            self.reasons[str(named.photo.reason)] += 1
        for decision in named.decisions:
            self.identified += decision.outcome is Outcome.IDENTIFIED
            self.unknown += decision.outcome is Outcome.UNKNOWN
            self.rejected += decision.outcome is Outcome.REJECTED
            if decision.reason:
                self.reasons[str(decision.reason)] += 1
            if decision.person:
                self.people[decision.person] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON: reasons and people sorted by name."""
        content = asdict(self)
        content["reasons"] = dict(sorted(self.reasons.items()))
        content["people"] = dict(sorted(self.people.items()))
        return content
