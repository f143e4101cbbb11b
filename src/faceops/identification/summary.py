"""The summary of a run: settings, counts and times, as summary.json has them, and as metrics.

metrics.prom is valid in OpenMetrics and in Prometheus' text format, which the textfile collector of
node exporter reads. All metrics are gauges: they describe the latest run. MLflow gets them too.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.errors import counted
from faceops.base.files import read_json_object, write_file
from faceops.base.reasons import IDENTIFIED, REJECTED, UNKNOWN, Reason
from faceops.identification.records.output_folder import KEEP_RUNS, METRICS_FILE, SUMMARY_FILE
from faceops.photos.formats import PhotoLimits
from faceops.release.release_file import Precision

if TYPE_CHECKING:  # reading the summary of an unchanged run loads no model
    from faceops.identification.engine.decide import NamedBlock

_COUNTED = ("reasons", "people", "skipped")  # the counters of a `Summary`


@dataclass(frozen=True)
class Drift:
    """One comparison of the faces with what is expected.

    Attributes:
        what: what was compared, e.g. "quality".
        faces: number of faces seen.
        expected, seen: shares in the bins, in order; each sums to 1.
        psi: population stability index.
        level: "none", "moderate" or "major".
        advice: what changed and what to do; empty if nothing did.
    """

    what: str
    faces: int
    expected: list[float]
    seen: list[float]
    psi: float
    level: str
    advice: str


@dataclass(frozen=True)
class AlbumEstimate:
    """What a run knows about the strangers in its album; see `verification.album`.

    Attributes:
        people, faces: people that could be told apart, and faces of the album.
        low, high: 95 % interval of the share of strangers named in it; None if it is too small to
            say.
        population: the calibration set whose threshold is used then, else "".
    """

    people: int
    faces: int
    low: float | None
    high: float | None
    population: str


@dataclass(frozen=True)
class TaggedOtherwise:
    """A face that another program tagged under another name than `person`, which it gets here."""

    photo: str
    person: str
    tagged: str


@dataclass
class Summary:
    """The content of summary.json; counts are of faces unless the name says otherwise.

    Attributes:
        release: version address or folder; `precision` is that of its embedder, and `release_note`
            says when the registry did not answer, or that CUDA cannot be used.
        device: what found and embedded the faces of the photos that this run opened, see
            `Bundle.runs_on`; "" in summaries of earlier versions. A flow's shards are in its log.
        threshold_measured: whether it was measured on the album; without an album, False if the
            budget in a gallery of this size exceeds the pairs that the release was measured on.
        album: None if the release knows no normalised scores, or no face was compared.
        gallery: its folder; "" in summaries of earlier versions.
        inputs_sha256: of all that decides the rows but the photos, see `inputs_digest`.
        decisions: number of decisions of people that the rows obey, the first ones in the gallery's
            journal, and `decisions_digest` their sha256, see `gallery.decisions.digest_of`.
        files_sha256: of the files, and with `xmp` of the sidecars.
        checked: when the folder was last compared with both; `unchanged` if nothing was to do.
        known_to_gallery: False if the gallery is read-only: forgetting a person then takes --out.
        known_people: enrolled, or with a name that only a decision gave.
        admitted: faces that a person confirmed and that entered the gallery; `withdrawn` left it,
            as they are not confirmed any more. `not_admitted`: a sentence about each that is only
            named, said once. `gallery_note`: why the gallery could not be written.
        photos_opened: photos decoded in this run; `photos_reused` came from an earlier run, and of
            these, `photos_reembedded` had their faces embedded again from stored crops.
        photos_turned: photos whose faces do not stand upright and were found after a turn.
        unknown_people: people without a name seen in two photos or more, with
            `unknown_people_faces` faces.
        reasons: rows by reason: faces, and photos without faces.
        people: faces by the name given.
        vanished: files that the latest run saw and that are missing now; `moved` counts those whose
            photo exists under another path. Data of missing files are kept until `drop_at`.
        skipped: files and folders that rules of exclusion skip, by rule; `excluded` counts photos
            that the latest run saw and that are skipped now. They are dropped as missing ones are.
        unlisted: folders that could not be listed.
        letters_not_drawn: with `annotate`, a letter of each script that no installed font has.
        sidecars_withdrawn: sidecars from which entries of FaceOps were removed since their photo is
            gone or excluded, or cannot be opened any more.
        failures: sentences about photos that could not be read for a reason outside their bytes.
            What an earlier run found in them is kept, and the next run tries again.
        sidecar_errors: sentences about sidecars that were left as they are.
        tagged_otherwise: with `xmp`, faces whose region of another program has another name; they
            get no region here.
        seconds: wall clock until the report; `timings` are seconds summed over threads of the parts
            look (open photos, find faces), embed, admit (to the gallery), name, write (rows) and
            group (unknown people).
    """

    run_id: str
    photos_folder: str
    started: str
    release: str
    contract_id: str
    budget: float
    runner_up_margin: float
    detail: int
    annotate: bool
    xmp: bool
    threshold: float | None = None
    threshold_measured: bool = False
    gallery_people: int = 0
    gallery_faces: int = 0
    known_people: int = 0
    keep_crops: bool = False
    keep_runs: int = KEEP_RUNS
    limits: PhotoLimits = PhotoLimits()  # noqa: RUF009  frozen
    exclude: list[str] = field(default_factory=list)
    album: AlbumEstimate | None = None
    gallery: str = ""
    release_note: str = ""
    precision: Precision = "float32"
    device: str = ""
    inputs_sha256: str = ""
    decisions: int = 0
    decisions_digest: str = ""
    files_sha256: str = ""
    checked: str = ""
    unchanged: bool = False
    known_to_gallery: bool = True
    admitted: int = 0
    withdrawn: int = 0
    not_admitted: list[str] = field(default_factory=list)
    gallery_note: str = ""
    photos: int = 0
    photos_opened: int = 0
    photos_reused: int = 0
    photos_reembedded: int = 0
    photos_turned: int = 0
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
    skipped: Counter[str] = field(default_factory=Counter)
    excluded: int = 0
    unlisted: list[str] = field(default_factory=list)
    drop_at: str = ""
    letters_not_drawn: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    sidecars_written: int = 0
    sidecars_withdrawn: int = 0
    sidecar_errors: list[str] = field(default_factory=list)
    tagged_otherwise: list[TaggedOtherwise] = field(default_factory=list)
    seconds: float = 0.0
    photos_per_second: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)

    def add(self, named: "NamedBlock") -> None:
        """Count some photos."""
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
    """Write `folder`/summary.json atomically."""
    text = json.dumps(summary.as_dict(), indent=1, ensure_ascii=False) + "\n"
    write_file(folder / SUMMARY_FILE, text)


_EARLIER_NAMES = {"decided_by": "inputs_sha256", "saw": "files_sha256"}  # until 2026-12


def with_current_names(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a summary.json, with the names that this version has for its fields."""
    return {_EARLIER_NAMES.get(name, name): value for name, value in content.items()}


def read_summary(folder: Path) -> Summary:
    """Return what `write_summary` wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is none, or another version's.
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


PREFIX = "faceops_identify_"  # of the metrics
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True)
class Metric:
    """One metric of a run.

    Attributes:
        name: after `PREFIX`, and in MLflow.
        help: what it counts, as a sentence.
        of: returns its value from the content of summary.json: a number, None where there is none,
            or a number for each value of `label`. Default: the field `name`.
        label: the name of the label, or "".
    """

    name: str
    help: str
    of: Callable[[dict[str, Any]], float | dict[str, float] | None] | None = None
    label: str = ""

    def values(self, summary: dict[str, Any]) -> dict[str, float]:
        """Return the values by the label's value; the key is "" without a label."""
        value = self.of(summary) if self.of else summary[self.name]
        if value is None:
            return {}
        return value if isinstance(value, dict) else {"": value}


def _time(text: str) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _share_unnamed(summary: dict[str, Any]) -> float | None:
    """Return the share among the faces that the model decided."""
    reasons = summary["reasons"]
    named = summary["identified"] - reasons.get(Reason.CONFIRMED, 0)
    unnamed = summary["unknown"] - reasons.get(Reason.REFUSED_BY_PERSON, 0)
    return unnamed / (named + unnamed) if named + unnamed else None


def _drift(summary: dict[str, Any]) -> dict[str, float]:
    return {drift["what"].replace(" ", "_"): drift["psi"] for drift in summary["drift"]}


def _strangers_named(summary: dict[str, Any]) -> dict[str, float] | None:
    album = summary["album"] or {}
    found = {bound: album.get(bound) for bound in ("low", "high")}
    return {bound: share for bound, share in found.items() if share is not None}


# MLflow knows these otherwise: as parameters, tags or the run's own times.
ABOUT = (
    Metric(
        "checked_timestamp_seconds", "When the folder was checked.", lambda s: _time(s["checked"])
    ),
    Metric(
        "results_timestamp_seconds", "When the results were made.", lambda s: _time(s["started"])
    ),
    Metric("release", "1, with the release used.", lambda s: {s["release"]: 1}, "release"),
    Metric("gallery_people", "People enrolled in the gallery."),
    Metric("gallery_faces", "Faces enrolled in the gallery."),
    Metric("part_seconds", "Duration by part, over all threads.", lambda s: s["timings"], "part"),
)
COUNTS = (
    Metric("photos", "Photos in the folder."),
    Metric("photos_opened", "Photos opened by the run."),
    Metric("photos_reused", "Photos whose faces were known from an earlier run."),
    Metric("photos_reembedded", "Photos whose faces were embedded again from stored crops."),
    Metric("rejected_photos", "Photos without a face, or that cannot be used."),
    Metric("faces", "Faces found."),
    Metric("identified", "Faces that were given a name."),
    Metric("unknown", "Faces that were good enough but not given a name."),
    Metric("rejected", "Faces too small or too poor to be named."),
    Metric(
        "share_unnamed",
        "Share of unknown faces in identified and unknown ones, without those that people decided.",
        _share_unnamed,
    ),
    Metric(
        "reason", "Faces, or photos without faces, by reason.", lambda s: s["reasons"], "reason"
    ),
    Metric("admitted", "Faces that a person confirmed and that entered the gallery."),
    Metric("withdrawn", "Faces that left the gallery, as they are not confirmed any more."),
    Metric("people", "People named in the photos.", lambda s: len(s["people"])),
    Metric("unknown_people", "People without a name seen in two photos or more."),
    Metric("unknown_people_faces", "Faces of these people."),
    Metric(
        "drift", "Population stability index: moderate from 0.1, major from 0.25.", _drift, "what"
    ),
    Metric(
        "strangers_named",
        "Estimated share of the album's strangers that get a name, 95 % interval.",
        _strangers_named,
        "bound",
    ),
    Metric("failures", "Photos to be tried again by the next run.", lambda s: len(s["failures"])),
    Metric("vanished", "Photos of the previous run that are missing."),
    Metric("moved", "Missing photos that lie under another path."),
    Metric("unlisted_folders", "Folders that could not be listed.", lambda s: len(s["unlisted"])),
    Metric("sidecars_written", "Sidecars written or changed."),
    Metric("sidecars_withdrawn", "Sidecars from which entries were removed: their photo is gone."),
    Metric("sidecar_errors", "Sidecars left as they are.", lambda s: len(s["sidecar_errors"])),
    Metric("seconds", "Duration of the run."),
    Metric("photos_per_second", "Photos divided by the duration."),
)
METRICS = (*ABOUT, *COUNTS)


def metrics_text(summary: dict[str, Any]) -> str:
    """Return the metrics of a run as OpenMetrics text.

    Args:
        summary: content of summary.json. No name of a person gets into the text.
    """
    folder, lines = {"photos_folder": summary["photos_folder"]}, list[str]()
    for metric in METRICS:
        name = PREFIX + metric.name
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
        for key, value in metric.values(summary).items():
            labels = folder | ({metric.label: key} if metric.label else {})
            shown = ",".join(
                f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items()
            )
            lines.append(f"{name}{{{shown}}} {float(value)!r}")
    return "\n".join([*lines, "# EOF\n"])


def write_metrics(summary: Summary, out: Path) -> None:
    """Write `out`/metrics.prom atomically."""
    write_file(out / METRICS_FILE, metrics_text(summary.as_dict()))


def mlflow_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """Return what MLflow records, by name; a labelled metric as name/label."""
    return {
        f"{metric.name}/{key}" if metric.label else metric.name: float(value)
        for metric in COUNTS
        for key, value in metric.values(summary).items()
    }
