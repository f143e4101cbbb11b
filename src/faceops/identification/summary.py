"""What a run did, in figures."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.files import write_file
from faceops.gallery.person_name import valid_unicode
from faceops.identification.drift_found import Drift
from faceops.identification.outcome import Outcome
from faceops.identification.output_folder import KEEP_RUNS, SUMMARY_FILE

if TYPE_CHECKING:  # it loads NumPy; a run that finds nothing changed only needs the figures
    from faceops.identification.engine import NamedPhoto
    from faceops.identification.presence import Presence


@dataclass
class Summary:
    """The content of summary.json; counts are of faces where nothing else is said.

    `photos_opened` were read and decoded in this run, `photos_reused` came from an earlier one; of
    these, `photos_reembedded` had their faces embedded anew, from the crops that it had kept.
    `unknown_people` were seen in two photos or more, with `unknown_people_faces` faces. `decisions`
    and `reasons` count rows: faces, and photos without any. `people` are the names given with their
    number of faces. `drift` compares the faces with those that the release was calibrated on.
    `vanished` counts files that the latest run saw and that are not there now, and `moved` those
    whose photo is there under another path; what is known of the vanished is kept until `drop_at`
    and later, see `presence`. `unlisted` are folders that could not be listed. `release` is a
    version's address or a folder, and `release_note` says when the registry could not be asked for
    it. `sidecar_errors` are sentences about sidecars that were left as they are.
    `threshold_measured` is False when so small a budget in so large a gallery lies beyond the pairs
    that the release was measured on. Times in seconds: `seconds` by the wall clock up to the
    report; `timings` of the parts look (open, find faces), embed, name, write (rows) and group
    (unknown people), added over threads, so their sum may be more. `decided_by` is the fingerprint
    of all that decided the rows, `saw` that of the files, with `xmp` also of the sidecars;
    `checked` says when the folder was last compared with both, and `unchanged` whether that
    comparison found nothing to do. `known_to_gallery` is False when the gallery may only be read:
    `faceops people forget` must then be told of this folder.
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
    detail: int
    annotate: bool
    xmp: bool
    keep_crops: bool = False
    keep_runs: int = KEEP_RUNS
    release_note: str = ""
    decided_by: str = ""
    saw: str = ""
    checked: str = ""
    unchanged: bool = False
    known_to_gallery: bool = True
    photos: int = 0
    photos_opened: int = 0
    photos_reused: int = 0
    photos_reembedded: int = 0
    faces: int = 0
    identified: int = 0
    unknown: int = 0
    rejected: int = 0
    rejected_photos: int = 0
    unknown_people: int = 0
    unknown_people_faces: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    drift: list[Drift] = field(default_factory=list)
    vanished: int = 0
    moved: int = 0
    unlisted: list[str] = field(default_factory=list)
    drop_at: str = ""
    sidecars_written: int = 0
    sidecar_errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    photos_per_second: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)

    def add(self, named: "NamedPhoto") -> None:
        """Count one photo."""
        self.photos += 1
        self.photos_opened += named.opened
        # A file that could not even be read is neither opened nor reused.
        self.photos_reused += not named.opened and named.photo.photo_id is not None
        self.photos_reembedded += named.reembedded
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

    def add_presence(self, presence: "Presence", root: Path) -> None:
        """Count the files that are gone; `root` is the folder that the photos lie in."""
        self.vanished, self.moved = presence.vanished, presence.moved
        self.unlisted = [
            valid_unicode(folder.relative_to(root).as_posix()) for folder in presence.unlisted
        ]
        self.drop_at = presence.drop_at.isoformat(timespec="seconds") if presence.drop_at else ""

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Summary":
        """Return what `as_dict` gave.

        Raises:
            TypeError: `content` has other keys.
        """
        counts = {name: Counter(content[name]) for name in ("reasons", "people")}
        drift = [Drift(**one) for one in content["drift"]]
        return cls(**{**content, **counts, "drift": drift})

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON: reasons and people sorted by name."""
        content = asdict(self)
        content["reasons"] = dict(sorted(self.reasons.items()))
        content["people"] = dict(sorted(self.people.items()))
        return content


def write_summary(summary: Summary, folder: Path) -> None:
    """Write `folder`/summary.json, replaced at once."""
    text = json.dumps(summary.as_dict(), indent=1, ensure_ascii=False) + "\n"
    write_file(folder / SUMMARY_FILE, text)


def read_summary(folder: Path) -> Summary:
    """Return what `write_summary` wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is not there, or another version's.
    """
    return Summary.from_dict(json.loads((folder / SUMMARY_FILE).read_text("utf-8")))
