"""The summary of a run: settings, counts and times, as summary.json has them."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.errors import counted
from faceops.base.files import read_json_object, write_file
from faceops.base.reasons import IDENTIFIED, REJECTED, UNKNOWN
from faceops.identification.records.output_folder import KEEP_RUNS, SUMMARY_FILE
from faceops.photos.formats import PhotoLimits
from faceops.release.release_file import Precision

if TYPE_CHECKING:  # reading the summary of an unchanged run loads no model
    from faceops.identification.engine.decide import NamedBlock

_COUNTED = ("reasons", "people", "skipped")  # the counters of a `Summary`


@dataclass(frozen=True)
class Drift:
    """One comparison of the faces with what is expected."""

    what: str  # what was compared, e.g. "quality".
    faces: int  # number of faces seen
    # expected, seen: shares in the bins, in order; each sums to 1
    expected: list[float]
    seen: list[float]
    psi: float  # population stability index
    level: str  # "none", "moderate" or "major"
    advice: str  # what changed and what to do; empty if nothing did


@dataclass(frozen=True)
class AlbumEstimate:
    """What a run knows about the strangers in its album; see `verification.album`."""

    # people, faces: people that could be told apart, and faces of the album
    people: int
    faces: int
    # low, high: 95 % interval of the share of strangers named in it; None if it is too small to say
    low: float | None
    high: float | None
    population: str  # the calibration set whose threshold is used then, else ""


@dataclass(frozen=True)
class TaggedOtherwise:
    """A face that another program tagged under another name than `person`, which it gets here."""

    photo: str
    person: str
    tagged: str


@dataclass
class Summary:
    """The content of summary.json; counts are of faces unless the name says otherwise."""

    run_id: str
    photos_folder: str
    started: str
    # Version address or folder; `precision` is that of its embedder, and `release_note` says when
    # the registry did not answer, or that CUDA cannot be used
    release: str
    contract_id: str
    budget: float
    runner_up_margin: float
    detail: int
    annotate: bool
    xmp: bool
    threshold: float | None = None
    # Whether it was measured on the album; without an album, False if the budget in a gallery of
    # this size exceeds the pairs that the release was measured on
    threshold_measured: bool = False
    gallery_people: int = 0
    gallery_faces: int = 0
    known_people: int = 0  # enrolled, or with a name that only a decision gave
    keep_crops: bool = False
    keep_runs: int = KEEP_RUNS
    limits: PhotoLimits = PhotoLimits()  # noqa: RUF009  frozen
    exclude: list[str] = field(default_factory=list)
    album: AlbumEstimate | None = None  # None without normalised scores, or compared faces
    gallery: str = ""  # its folder; "" in summaries of earlier versions
    release_note: str = ""
    precision: Precision = "float32"
    # What found and embedded the faces of the photos that this run opened, see `Bundle.runs_on`; ""
    # in summaries of earlier versions. A flow's shards are in its log.
    device: str = ""
    inputs_sha256: str = ""  # of all that decides the rows but the photos, see `inputs_digest`
    # Number of decisions of people that the rows obey, the first ones in the gallery's journal, and
    # `decisions_digest` their sha256, see `gallery.decisions.digest_of`
    decisions: int = 0
    decisions_digest: str = ""
    files_sha256: str = ""  # of the files, and with `xmp` of the sidecars
    checked: str = ""  # when the folder was last compared; `unchanged` if nothing was to do
    unchanged: bool = False
    known_to_gallery: bool = True  # False if that is read-only: forgetting then takes --out
    # Faces that a person confirmed and that entered the gallery; `withdrawn` left it, as they are
    # not confirmed any more. `not_admitted`: a sentence about each that is only named, said once.
    # `gallery_note`: why the gallery could not be written.
    admitted: int = 0
    withdrawn: int = 0
    not_admitted: list[str] = field(default_factory=list)
    gallery_note: str = ""
    photos: int = 0
    # Photos decoded in this run; `photos_reused` came from an earlier run, and of these,
    # `photos_reembedded` had their faces embedded again from stored crops
    photos_opened: int = 0
    photos_reused: int = 0
    photos_reembedded: int = 0
    photos_turned: int = 0  # photos whose faces do not stand upright and were found after a turn
    faces: int = 0
    identified: int = 0
    unknown: int = 0
    rejected: int = 0
    rejected_photos: int = 0
    unknown_people: int = 0  # seen in two photos or more, with `unknown_people_faces` faces
    unknown_people_faces: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # of faces, and photos without faces
    people: Counter[str] = field(default_factory=Counter)  # faces by the name given
    drift: list[Drift] = field(default_factory=list)
    # Files that the latest run saw and that are missing now; `moved` counts those whose photo
    # exists under another path. Data of missing files are kept until `drop_at`.
    vanished: int = 0
    moved: int = 0
    # Files and folders that rules of exclusion skip, by rule; `excluded` counts photos that the
    # latest run saw and that are skipped now. They are dropped as missing ones are.
    skipped: Counter[str] = field(default_factory=Counter)
    excluded: int = 0
    unlisted: list[str] = field(default_factory=list)  # folders that could not be listed
    drop_at: str = ""
    # With `annotate`, a letter of each script that no installed font has
    letters_not_drawn: dict[str, str] = field(default_factory=dict)
    # Sentences about photos that could not be read for a reason outside their bytes. What an
    # earlier run found in them is kept, and the next run tries again.
    failures: list[str] = field(default_factory=list)
    sidecars_written: int = 0
    # Sidecars from which entries of FaceOps were removed since their photo is gone or excluded, or
    # cannot be opened any more
    sidecars_withdrawn: int = 0
    sidecar_errors: list[str] = field(default_factory=list)  # a sentence for each
    # With `xmp`, faces whose region of another program has another name; they get no region here
    tagged_otherwise: list[TaggedOtherwise] = field(default_factory=list)
    # Wall clock until the report; `timings` are seconds summed over threads of the parts look (open
    # photos, find faces), embed, admit (to the gallery), name, write (rows) and group (unknown
    # people)
    seconds: float = 0.0
    photos_per_second: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)

    def add(self, named: "NamedBlock") -> None:
        photos, decisions = named.photos, named.decisions
        self.photos += len(photos)
        self.photos_opened += int(photos.opened.sum())
        # A file that could not even be read is neither opened nor reused.
        self.photos_reused += int((~photos.opened & photos.has_id).sum())
        self.photos_reembedded += int(photos.reembedded.sum())
        self.photos_turned += int((photos.turned != 0).sum())
        self.failures += photos.failures.values()
        self.faces += len(photos.faces)
        empty = (photos.starts[1:] == photos.starts[:-1]).nonzero()[0].tolist()
        self.rejected_photos += len(empty)
        self.reasons.update(str(photos.reasons[photo]) for photo in empty)
        self.reasons.update(str(reason) for reason in named.reasons() if reason)
        kinds = Counter(decisions.kind.tolist())
        self.identified += kinds[IDENTIFIED]
        self.unknown += kinds[UNKNOWN]
        self.rejected += kinds[REJECTED]
        self.people.update(name for name in named.names() if name is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return the content for JSON: reasons and people sorted by name."""
        counts = {name: dict(sorted(getattr(self, name).items())) for name in _COUNTED}
        return asdict(self) | counts


def write_summary(summary: Summary, folder: Path) -> None:
    text = json.dumps(summary.as_dict(), indent=1, ensure_ascii=False) + "\n"
    write_file(folder / SUMMARY_FILE, text)


_EARLIER_NAMES = {"decided_by": "inputs_sha256", "saw": "files_sha256"}  # until 2026-12


def with_current_names(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a summary.json, with the names that this version has for its fields."""
    return {_EARLIER_NAMES.get(name, name): value for name, value in content.items()}


def read_summary(folder: Path) -> Summary:
    """Return what `write_summary` wrote.

    Raises OSError, ValueError, KeyError, TypeError: there is none, or another version's.
    """
    content = with_current_names(read_json_object(folder / SUMMARY_FILE))
    counts = {name: Counter(content.get(name, {})) for name in _COUNTED}
    drift = [Drift(**one) for one in content["drift"]]
    limits = PhotoLimits(**content.get("limits", {}))
    album = AlbumEstimate(**found) if (found := content.get("album")) else None
    tagged = [TaggedOtherwise(**one) for one in content.get("tagged_otherwise", ())]
    read = {"drift": drift, "limits": limits, "album": album, "tagged_otherwise": tagged}
    return Summary(**content | counts | read)


FEWEST_PEOPLE = 40  # as `verification.album` has it, which loads NumPy


def promise(summary: Summary) -> str:
    """Return what is known about the budget in this album, in sentences; "" without an album."""
    album = summary.album
    if album is None:
        return ""
    budget = f"{100 * summary.budget:g} %"
    if album.low is not None and album.high is not None:
        return (
            f"At most {budget} of strangers' faces shall get a name. In this album an estimated "
            f"{_percent(album.low)} to {_percent(album.high)} % do (95 % interval), measured "
            f"without labels on {album.people:,} people in {album.faces:,} faces."
        )
    people = counted(album.people, "person", "people")
    return (
        f"At most {budget} of strangers' faces shall get a name, but this album is too small to "
        f"measure that: {people} can be told apart, {FEWEST_PEOPLE} are needed. "
        f"The release's threshold for {album.population} is used instead; among children or "
        "relatives it may name more strangers. Check the names, or run it on a folder with more "
        "people."
    )


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g}"  # 100, where .2g has 1e+02
