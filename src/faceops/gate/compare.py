"""Champion and challenger on the same photos: what the rules are measured on, and the verdict."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import bdtr

from faceops.base.errors import FaceOpsError
from faceops.base.work import track
from faceops.config.sections import Gate
from faceops.evaluation.protocols.album_scores import GalleryDraw
from faceops.evaluation.protocols.slices import read_attributes
from faceops.faces.quality import measure
from faceops.gate import trials
from faceops.gate.trials import FaceTable, FrozenPhotos, ModelFigures
from faceops.release.evaluate.embed_photos import LabelledPhoto
from faceops.release.evaluate.measured_model import MeasuredModel, PeopleSeen
from faceops.verification.embedded_faces import CropRows
from faceops.verification.pairs import codes

_THIRDS = {
    "brightness": ("dark", "medium brightness", "bright"),
    "sharpness": ("blurred", "medium sharpness", "sharp"),
}


@dataclass(frozen=True)
class Groups:
    """Masks bool (P,) of the probes by name of the group; `too_small` are those left out."""

    probes: dict[str, np.ndarray]
    too_small: list[str]


@dataclass(frozen=True)
class Comparison:
    """Two releases on N photos and P probes; in pairs the champion is first.

    What needs the embeddings is computed when a rule first asks for it.
    """

    # Both releases, opened with the same number of threads
    models: tuple[MeasuredModel, MeasuredModel]
    frozen: FrozenPhotos
    settings: Gate  # section `gate` of params.yaml, its paths complete
    seen: tuple[PeopleSeen, PeopleSeen]  # the people that each release was trained or calibrated on
    work: Path  # folder for faces and embeddings; those of an earlier comparison are reused
    threads: int = 1  # photos processed at once
    # Both models' faces of the photos, where they are known already
    embedded: list[FaceTable] | None = None

    @cached_property
    def tables(self) -> list[FaceTable]:
        if self.embedded is not None:
            return self.embedded
        settings = self.frozen, self.work, self.threads
        return [trials.embed_frozen(model, *settings) for model in self.models]

    @cached_property
    def person(self) -> np.ndarray:
        """The person of each photo, int (N,)."""
        return codes(np.array([photo.person for photo in self.frozen.photos]))

    @cached_property
    def usable(self) -> np.ndarray:
        """Photos in which both models find a face, bool (N,)."""
        return (self.tables[0].rows >= 0) & (self.tables[1].rows >= 0)

    @cached_property
    def draws(self) -> list[GalleryDraw]:
        """The galleries that both models search."""
        gate = self.settings
        return trials.draw_trials(
            self.person, self.usable, gate.gallery_photos, gate.unknown_share, gate.seed
        )

    @cached_property
    def probes(self) -> np.ndarray:
        """The photo of each probe, int (P,)."""
        return np.concatenate([draw.probes for draw in self.draws])

    @cached_property
    def known(self) -> np.ndarray:
        """Probes of people who are in the gallery, bool (P,)."""
        return np.concatenate([draw.known for draw in self.draws])

    @cached_property
    def figures(self) -> list[ModelFigures]:
        """Both models' open-set figures under weights of the people."""
        person = self.person[self.probes]
        outcomes = [trials.search(table, self.draws, self.person) for table in self.tables]
        return [ModelFigures(one, person, self.known) for one in outcomes]

    @property
    def people(self) -> int:
        return self.frozen.people

    @cached_property
    def unit_weights(self) -> np.ndarray:
        """Weights of one for each person, float32 (people,)."""
        return np.ones(self.people, np.float32)

    @cached_property
    def weights(self) -> np.ndarray:
        """How often each person is drawn in each resample, float32 (R, people)."""
        person, gate = self.person[self.probes], self.settings
        return trials.resampled_weights(person, self.known, self.people, gate.resamples, gate.seed)

    @cached_property
    def groups(self) -> Groups:
        """The groups with enough known people, of the champion's faces, so the same for both."""
        table, gate = self.tables[0], self.settings
        if gate.slices:
            attributes = read_attributes(Path(gate.slices))
            stated = attributes.of(table.faces, table.embedded.photo_ids).values
            of_faces = {
                f"{attribute}: {value}": values == value
                for attribute, values in stated.items()
                for value in np.unique(values[values != ""]).tolist()
            }
        else:
            of_faces = _visible_groups(table.embedded.crops)
        groups: dict[str, np.ndarray] = {}
        too_small = []
        for name, faces in of_faces.items():
            photos = np.zeros(len(self.frozen.photos), bool)
            photos[np.flatnonzero(table.rows >= 0)] = faces
            rows = photos[self.probes]
            if self.known_people(rows) >= gate.min_slice_people:
                groups[name] = rows
            else:
                too_small.append(name)
        return Groups(groups, too_small)

    @cached_property
    def populations(self) -> "dict[str, Comparison]":
        """The comparison on each source of the photos, which is an album of its own.

        A source with fewer than `min_slice_people` known people is left out; {} unless two or more
        have as many.
        """
        sources = np.array(self.frozen.sources, dtype=str)
        parts: dict[str, Comparison] = {}
        for name in np.unique(sources).tolist():
            part = self._of(sources == name)
            try:
                known = part.known_people()
            except FaceOpsError:  # too few to enrol some of them
                continue
            if known >= self.settings.min_slice_people:
                parts[name or "other photos"] = part
        return parts if len(parts) > 1 else {}

    def _of(self, chosen: np.ndarray) -> "Comparison":
        """Return the comparison on the photos `chosen` bool (N,)."""
        photos = [self.frozen.photos[row] for row in np.flatnonzero(chosen)]
        people = len({photo.person for photo in photos})
        frozen = replace(self.frozen, photos=photos, people=people, sources=())
        tables = [replace(table, rows=table.rows[chosen]) for table in self.tables]
        return replace(self, frozen=frozen, embedded=tables)

    def known_people(self, rows: np.ndarray | None = None) -> int:
        """Return the number of enrolled people, of the probes `rows` bool (P,) where given."""
        chosen = self.known if rows is None else rows & self.known
        return len(np.unique(self.person[self.probes][chosen]))


def _visible_groups(crops: CropRows) -> dict[str, np.ndarray]:
    """Return masks bool (F,): the thirds of the F crops by brightness and by sharpness."""
    if len(crops) < 3:
        return {}
    rows = track(range(len(crops)), "brightness and sharpness")
    qualities = [measure(crops[row], 0.0, 1.0) for row in rows]
    groups: dict[str, np.ndarray] = {}
    for name, thirds in _THIRDS.items():
        values = np.array([getattr(quality, name) for quality in qualities])
        third = np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values, side="right")
        groups |= {label: third == number for number, label in enumerate(thirds)}
    return groups


PHOTOS = 24  # that are timed, in turn
FIRST_LOOK, LOOK_EVERY, MOST_PAIRS = 24, 12, 240  # pairs of measurements
CONFIDENCE = 0.99

Process = Callable[[LabelledPhoto], object]  # open, crop and embed one photo


@dataclass(frozen=True)
class Latency:
    """Median times per photo in ms; the median ratio (challenger / champion) and its interval."""

    champion_ms: float
    challenger_ms: float
    ratio: float
    low: float
    high: float


def measure_latency(
    champion: Process,
    challenger: Process,
    photos: Sequence[LabelledPhoto],
    limit: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time both on the same photos in pairs, so that other load on the machine slows both.

    Measuring ends when the interval of the ratio excludes `limit`, at the latest after MOST_PAIRS
    pairs; the interval may then still include it. It is the distribution-free one of a median
    (order statistics), so a few slow runs do not move it.

    `limit`: the ratio to decide about.
    """
    rows = np.unique(np.linspace(0, len(photos) - 1, PHOTOS).round().astype(int))
    models = (champion, challenger)
    for process in models:  # the first run of a session allocates its memory
        process(photos[int(rows[0])])
    seconds = np.empty((MOST_PAIRS, 2))
    for pair in range(MOST_PAIRS):
        photo = photos[int(rows[pair % len(rows)])]
        for which in (0, 1) if pair % 2 else (1, 0):
            start = clock()
            models[which](photo)
            seconds[pair, which] = clock() - start
        done = pair + 1
        if done >= FIRST_LOOK and (done - FIRST_LOOK) % LOOK_EVERY == 0:
            low, high = _median_interval(seconds[:done, 1] / seconds[:done, 0])
            if low > limit or high < limit:
                break
    ratios = seconds[:done, 1] / seconds[:done, 0]
    champion_ms, challenger_ms = (np.median(seconds[:done], axis=0) * 1e3).tolist()
    return Latency(champion_ms, challenger_ms, float(np.median(ratios)), *_median_interval(ratios))


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    ordered = np.sort(values)
    shares = bdtr(np.arange(len(values) + 1), len(values), 0.5)  # of the binomial distribution
    rank = max(int(shares.searchsorted((1 - CONFIDENCE) / 2)), 1)
    return float(ordered[rank - 1]), float(ordered[-rank])


@dataclass(frozen=True)
class RuleResult:
    """What a rule measured; `reason` is the sentence for a failure, "" in a verdict that passed.

    `rule` is the demand in words. `low` and `high` bound `gain` (challenger minus champion) where
    the rule is about an interval.
    """

    name: str
    rule: str
    passed: bool
    champion: float | None = None
    challenger: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


VERDICT_VERSION = 2  # raise it with the rules: verdicts by other rules are not reused


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger may replace the champion, and why (not)."""

    champion: str
    challenger: str
    rules: list[RuleResult]
    photos_sha256: str
    data_sha256: str
    photos: int
    people: int
    people_left_out: int
    known_probes: int
    stranger_probes: int
    groups: list[dict[str, Any]]
    seen: list[str]
    params: dict[str, Any]

    @property
    def passed(self) -> bool:
        return all(rule.passed for rule in self.rules)

    @property
    def reasons(self) -> list[str]:
        return [rule.reason for rule in self.rules if not rule.passed]

    def as_dict(self) -> dict[str, Any]:
        stated = {"verdict_version": VERDICT_VERSION, "passed": self.passed}
        return stated | {"reasons": self.reasons} | asdict(self)

    def json(self) -> str:
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"

    def markdown(self) -> str:
        """Return the verdict as Markdown without headings."""
        lines = [
            f"**{'Passed' if self.passed else 'Refused'}**: {self.challenger} against "
            f"{self.champion}, on {self.photos:,} photos of {self.people:,} people that neither "
            f"was trained on ({self.known_probes:,} searches for known people, "
            f"{self.stranger_probes:,} for strangers).",
            "",
            *(f"- {reason}" for reason in self.reasons),
            *([""] if self.reasons else []),
            "| rule | champion | challenger | difference (interval) | passed |",
            "| --- | --- | --- | --- | --- |",
        ]
        for rule in self.rules:
            gain = "" if rule.gain is None else f"{rule.gain:+.4f}"
            gain += "" if rule.low is None else f" ({rule.low:+.4f} to {rule.high:+.4f})"
            figures = f"{_number(rule.champion)} | {_number(rule.challenger)} | {gain}"
            passed = "yes" if rule.passed else "**no**"
            lines.append(f"| {rule.name}: {rule.rule} | {figures} | {passed} |")
        if self.groups:
            lines += ["", "| group | people | champion | challenger |", "| --- | --- | --- | --- |"]
        for group in self.groups:
            figures = f"{_number(group['champion'])} | {_number(group['challenger'])}"
            lines.append(f"| {group['group']} | {group['people']} | {figures} |")
        if self.seen:
            lines += ["", *(f"{note[0].upper()}{note[1:]}." for note in self.seen)]
        lines += [
            "",
            f"The photos' sha256: `{self.photos_sha256}`; of the whole folder, which "
            f"gate.photos_sha256 can pin: `{self.data_sha256}`.",
        ]
        return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
