"""What a run did, in figures."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faceops
from faceops.base.files import sha256_file, write_file
from faceops.gallery.names import valid_unicode
from faceops.identification.engine.decide import Outcome
from faceops.identification.records.output_folder import ANNOTATED, KEEP_RUNS, SUMMARY_FILE

if TYPE_CHECKING:
    from faceops.identification.engine.engine import NamedPhoto
    from faceops.identification.state.presence import Presence


@dataclass(frozen=True)
class Drift:
    """One comparison.

    Attributes:
        what: that was compared.
        faces: how many faces were seen.
        expected, seen: shares in the bins, in order; they sum to 1.
        psi: the index.
        level: "none", "moderate" or "major".
        advice: what changed and what to do; empty where nothing did.
    """

    what: str
    faces: int
    expected: list[float]
    seen: list[float]
    psi: float
    level: str
    advice: str


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


class PartClock:
    """Adds up seconds a part; safe to use from several threads, whose seconds are added."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done inside as the part `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - began
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + passed

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part so far, by name, rounded to milliseconds."""
        with self._lock:
            return {name: round(self._seconds[name], 3) for name in sorted(self._seconds)}


MANIFEST_FILE = "manifest.json"


def write_manifest(folder: Path, about: dict[str, str], drawings: Path | None = None) -> None:
    """Write `folder`/manifest.json over all other files below it, replaced at once.

    Args:
        drawings: drawn copies of a run that has a manifest. Of those that are the same file in
            `folder` too, the sha256 is taken from there: all of them are gigabytes to read.
    """
    known = stated_drawings(drawings.parent) if drawings else {}
    files = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == MANIFEST_FILE or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        entry = known.get(name)
        if entry is None or not drawings or not _is_same(path, drawings.parent / name, entry):
            entry = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        files[name] = entry
    text = json.dumps({**about, "files": files}, indent=1) + "\n"
    write_file(folder / MANIFEST_FILE, text)


def stated_drawings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the manifest of a run says of its drawn copies; nothing if there is none."""
    try:
        files = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))["files"]
        return {name: files[name] for name in files if name.startswith(f"{ANNOTATED}/")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_same(path: Path, earlier: Path, entry: dict[str, Any]) -> bool:
    try:
        return path.samefile(earlier) and path.stat().st_size == entry["bytes"]
    except OSError:
        return False


def about_run(summary: Summary) -> dict[str, str]:
    """Return what a manifest says of its run."""
    return {
        "run_id": summary.run_id,
        "faceops": faceops.__version__,
        "release": summary.release,
        "release_note": summary.release_note,
        "contract_id": summary.contract_id,
    }


def renew_manifest(folder: Path) -> None:
    """Write the manifest of `folder` anew, if it has one, after its files were changed."""
    path = folder / MANIFEST_FILE
    if path.is_file():
        content = json.loads(path.read_text("utf-8"))
        about = {key: value for key, value in content.items() if key != "files"}
        write_manifest(folder, about, drawings=folder / ANNOTATED)
