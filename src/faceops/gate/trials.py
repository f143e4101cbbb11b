"""The photos of the comparison, and open-set search on them by one model.

The photos are of people that neither release was trained or calibrated on. A search has an outcome
for every probe, and figures under weights of people. Terms of Grother & Ngan (FRVT): a gallery of
known people, probes of them and of strangers. A photo in which the model finds no face is a probe
without a name.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.work import track
from faceops.dataset.data_folder import REVIEWED_FILE, read_imported, read_reviewed
from faceops.dataset.names import name_key
from faceops.dataset.validate import HashedPhoto, find_duplicates
from faceops.evaluation.protocols.album_scores import GalleryDraw, draw_galleries, search_album
from faceops.release.evaluate.embed_photos import (
    EmbeddedPhotos,
    LabelledPhoto,
    embed_photos,
    labelled_photos,
    quarantined_photos,
)
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import resampled_people
from faceops.verification.thresholds import Thresholds


@dataclass(frozen=True)
class FrozenPhotos:
    """The photos of `people` people who trained or calibrated neither release."""

    photos: list[LabelledPhoto]  # the photos, without copies and without those in quarantine.csv
    people: int  # how many people they show
    left_out: int  # people who were left out because a release was trained or calibrated on them
    sha256: str  # of the bytes of `photos` and of the names of their people
    data_sha256: str  # the same of the whole folder
    # Which source each of `photos` was imported from, "" where no import brought it
    sources: tuple[str, ...] = ()


def freeze(
    data: Path, seen: Iterable[str], pinned: str = "", seen_photos: frozenset[str] = frozenset()
) -> FrozenPhotos:
    """Return the photos below `data` of people who are not among `seen`, in any spelling.

    Photos that lie in the folders of two people are left out.

    Args:
        seen: people that a release was trained or calibrated on.
        pinned: the expected `data_sha256`; "" accepts any.
        seen_photos: sha256 of the photos that a release was trained or calibrated on; people who
            have one of them are left out too.

    Raises:
        UsageError: `data` holds no labelled photos of two people or more.
        FaceOpsError: a photo cannot be read, or `data_sha256` is not `pinned`.
    """
    listed, hashed = _hashed(data)
    whole = _digest(listed, hashed)
    if pinned and whole != pinned:
        raise FaceOpsError(
            f"{data} is not as gate.photos_sha256 pins it: it has {whole}, not {pinned}; restore "
            "the photos, or pin these."
        )
    out = {name_key(person) for person in seen}
    out |= {name_key(p.person) for p in hashed.values() if p.photo_id in seen_photos}
    left_out = {name_key(photo.person) for photo in listed} & out
    # A copy makes a genuine pair that is too easy; a photo of two people has a wrong label.
    duplicates = find_duplicates(hashed.values())
    photos = [
        photo
        for photo in listed
        if photo.path in hashed
        and photo.path not in duplicates
        and name_key(photo.person) not in out
    ]
    people = len({photo.person for photo in photos})
    imported = read_imported(data)
    sources = tuple(imported.get(photo.path, "") for photo in photos)
    return FrozenPhotos(photos, people, len(left_out), _digest(photos, hashed), whole, sources)


def touched_by_review(folders: Iterable[Path]) -> tuple[set[str], frozenset[str]]:
    """Return the people and the photos (sha256) from which data folders have reviewed faces.

    The gate leaves them out, whatever a release was trained on: they were chosen for being hard for
    a champion.

    Raises FaceOpsError: a list of reviewed faces is damaged.
    """
    faces = [face for folder in folders for face in read_reviewed(folder / REVIEWED_FILE)]
    return {face.person for face in faces}, frozenset(face.photo_id for face in faces)


def data_sha256(data: Path) -> str:
    """Return the sha256 of all labelled photos below `data`, see `FrozenPhotos`.

    Raises: as `freeze`.
    """
    return _digest(*_hashed(data))


def _hashed(data: Path) -> tuple[list[LabelledPhoto], dict[str, HashedPhoto]]:
    """Return the labelled photos below `data`, and those not in quarantine.csv by path."""
    quarantined = quarantined_photos(data)
    listed = [photo for photo in labelled_photos(data) if photo.person]
    hashed: dict[str, HashedPhoto] = {}
    for photo in track(listed, "hashes of photos", len(listed)):
        try:
            photo_id = sha256_file(photo.file)
        except OSError as error:
            raise FaceOpsError(
                f"{photo.file} cannot be read ({error.strerror}), and the gate needs every photo; "
                "repair or remove it."
            ) from None
        if photo_id not in quarantined:
            hashed[photo.path] = HashedPhoto(photo.path, photo.person, photo_id)
    return listed, hashed


def _digest(photos: Iterable[LabelledPhoto], hashed: Mapping[str, HashedPhoto]) -> str:
    lines = [
        f"{hashed[photo.path].photo_id}\t{name_key(photo.person)}\n"
        for photo in photos
        if photo.path in hashed
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


NO_FACE = np.float32(-1)  # below every probability


@dataclass(frozen=True)
class Outcomes:
    """One model's results for all P probes of all draws, in their order; arrays are (P,)."""

    score: np.ndarray  # float32: the best person's probability, NO_FACE without a face
    right: np.ndarray  # bool: the best person is the right one
    named: np.ndarray  # bool: a name is given at the release's own threshold


@dataclass(frozen=True)
class FaceTable:
    """One model's faces of N photos; `rows` int (N,) points into them, -1 without a face."""

    model: MeasuredModel
    embedded: EmbeddedPhotos
    rows: np.ndarray

    @property
    def faces(self) -> EmbeddedFaces:
        """The embeddings, each with its person."""
        return self.embedded.faces

    @property
    def thresholds(self) -> Thresholds:
        """Those of the release."""
        assert self.model.thresholds is not None  # of a release
        return self.model.thresholds


def embed_frozen(model: MeasuredModel, frozen: FrozenPhotos, work: Path, threads: int) -> FaceTable:
    """Detect and embed the faces of `frozen`; results in the folder `work` are reused."""
    embedded = embed_photos(
        model, frozen.photos, frozenset(), work, threads=threads, duplicates=True
    )
    found = np.array([not photo.reason for photo in embedded.photos])
    return FaceTable(model, embedded, np.where(found, np.cumsum(found) - 1, -1))


def draw_trials(
    person: np.ndarray, usable: np.ndarray, gallery_photos: int, unknown_share: float, seed: int
) -> list[GalleryDraw]:
    """Return random galleries, which both models search.

    Args:
        usable: bool (N,), photos in which both models find a face; only these are enrolled.
        gallery_photos: photos enrolled per person, who has at least one photo more.
        unknown_share: share of the people with so many photos who become strangers.

    Raises:
        FaceOpsError: too few people have so many photos.
    """
    able = np.flatnonzero(np.bincount(person[usable], minlength=person.max() + 1) > gallery_photos)
    enrolled = round(len(able) * (1 - unknown_share))
    if enrolled < 2 or enrolled == len(np.unique(person)):
        raise FaceOpsError(
            f"{len(able)} people have more than {gallery_photos} photos with a face: too few for "
            "known people and strangers; lower gate.gallery_photos or give the gate more people."
        )
    return draw_galleries(
        person, able, enrolled, gallery_photos=gallery_photos, seed=seed, usable=usable
    )


def search(table: FaceTable, draws: Sequence[GalleryDraw], person: np.ndarray) -> Outcomes:
    """Return the outcomes of the probes of `draws`, each an album of its own.

    Names are given at the default budget, as in identification. `person` int (N,) is the person of
    each photo.
    """
    parts = []
    for draw in draws:
        found = table.rows[draw.probes] >= 0
        score = np.full(len(draw.probes), NO_FACE, np.float32)
        right, named = np.zeros(len(score), bool), np.zeros(len(score), bool)
        result = search_album(
            table.faces.embeddings,
            table.rows[draw.probes[found]],
            table.rows[draw.gallery],
            person[draw.gallery],
            table.model.verifier,
            table.thresholds,
        )
        score[found], named[found] = result.best, result.named
        right[found] = result.person == person[draw.probes[found]]
        parts.append((score, right, named))
    return Outcomes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class ModelFigures:
    """One model's open-set figures; `weight` float (people,) says how often each person counts.

    The weights are those of a bootstrap over people. Both models get the same ones, so that what
    makes a person hard for both cancels out in their difference (paired bootstrap: Bolle, Ratha
    and Pankanti 2004). The threshold for an FPIR is set for each weighting on its strangers.
    """

    def __init__(self, outcomes: Outcomes, person: np.ndarray, known: np.ndarray) -> None:
        """`person` int (P,) and `known` bool (P,) are those of the probes."""
        self._person, self._known = person, known
        self._named, self._right = outcomes.named, outcomes.right
        strangers = np.flatnonzero(~known)
        falling = strangers[np.argsort(-outcomes.score[strangers], kind="stable")]
        self._stranger_score = outcomes.score[falling]
        self._stranger_person = person[falling]
        # A known person's probe is a hit if its best match is right and above the threshold.
        self._score = np.where(outcomes.right, outcomes.score, np.float32(-2))

    def threshold(self, weight: np.ndarray, fpir: float) -> float:
        """Return the stranger's score that must be passed; tied strangers are refused together.

        `weight` float (people,) says how often each person was drawn.
        """
        accepted_strangers = np.cumsum(weight[self._stranger_person])
        total = accepted_strangers[-1]
        at = int(np.searchsorted(accepted_strangers, fpir * total + 1e-9, side="right"))
        # All strangers may be accepted: every right name counts, but no photo without a face.
        return float(self._stranger_score[at]) if at < len(accepted_strangers) else -1.0

    def dir(self, weight: np.ndarray, fpir: float, rows: np.ndarray | None = None) -> float:
        """Return DIR at FPIR, of the probes `rows` bool (P,) where given; NaN without any."""
        hits, all_known = self._weighed(weight, fpir)
        return _share(hits, all_known, rows)

    def strangers_named(self, weight: np.ndarray) -> float:
        """Return the share of strangers' probes that the release names at its own threshold."""
        each = weight[self._person] * ~self._known
        return _share(each * self._named, each)

    def correctly_identified_share(self, weight: np.ndarray) -> float:
        """Return the share of known people's probes that get their name at its own threshold."""
        each = weight[self._person] * self._known
        return _share(each * (self._named & self._right), each)

    def worst(
        self, weight: np.ndarray, fpir: float, groups: Mapping[str, np.ndarray]
    ) -> tuple[str, float]:
        """Return the name and the DIR of the group, mask bool (P,), with the lowest DIR."""
        hits, all_known = self._weighed(weight, fpir)
        rates = {name: _share(hits, all_known, rows) for name, rows in groups.items()}
        rates = {name: rate for name, rate in rates.items() if not np.isnan(rate)}
        if not rates:
            return "", float("nan")
        name = min(rates, key=lambda group: (rates[group], group))
        return name, rates[name]

    def _weighed(self, weight: np.ndarray, fpir: float) -> tuple[np.ndarray, np.ndarray]:
        """Return each probe's weight (P,) if correctly identified at `fpir`, and if known."""
        all_known = self._known * weight[self._person]
        return (self._score > self.threshold(weight, fpir)) * all_known, all_known


def _share(part: np.ndarray, whole: np.ndarray, rows: np.ndarray | None = None) -> float:
    chosen = slice(None) if rows is None else rows
    total = float(whole[chosen].sum())
    return float(part[chosen].sum()) / total if total else float("nan")


def resampled_weights(
    person: np.ndarray, known: np.ndarray, people: int, repeats: int, seed: int
) -> np.ndarray:
    """Return float32 (R, people): how often each person is drawn in each of `repeats` resamples.

    A resample without a known person or without a stranger is drawn again. `person` int (P,) and
    `known` bool (P,) are those of the probes.
    """
    kinds = [np.bincount(person[rows], minlength=people) > 0 for rows in (known, ~known)]

    def has_both(times: np.ndarray) -> bool:
        return all(times[kind].any() for kind in kinds)

    return np.array(list(resampled_people(people, seed, repeats, has_both)), np.float32)
