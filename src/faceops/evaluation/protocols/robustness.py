"""The true accept rate that remains when a photo is altered.

A pair is an altered photo and another, unaltered photo of the same person: a poor picture against a
good one, as in a gallery. The threshold is fixed on unaltered photos; each alteration also has the
TAR at the threshold that keeps the false accept rate of its own pairs. A face that is not found
again is a miss. The fall is a paired difference: the same pairs with and without the alteration,
people resampled.

Each alteration is a pure function of a photo and the face in it. Strengths that depend on the face
are in shares of its box or of the distance between the eyes, so that they mean the same in a small
photo as in a large one.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from faceops.base.errors import FaceOpsError
from faceops.base.figures import allowed_false_accepts, threshold_at
from faceops.base.work import ordered_map, track
from faceops.evaluation.protocols.album_scores import release_threshold
from faceops.evaluation.protocols.all_pairs import OVERSAMPLING, TopPairsCollector
from faceops.faces.crop_photos import CropSettings, choose_face
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face, FaceFinder
from faceops.photos.open_photo import open_photo
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import ResampledTar, interval_figures, resampled_people
from faceops.verification.pairs import all_pair_scores, codes, row_blocks
from faceops.verification.thresholds import IMPOSTOR_PAIRS, Thresholds, log_odds_of
from faceops.verification.verifier import Verifier, reaches

BLUR = 0.03  # standard deviation, of the shorter side of the face box
JPEG_QUALITY = 30
DARK, BRIGHT = 0.25, 2.2  # factors of the pixel values
MASK, GLASSES = (150, 190, 215), (15, 15, 18)  # RGB


@dataclass(frozen=True, eq=False)
class Altered:
    """A photo uint8 (H', W', 3) RGB; `moved` float64 (2, 3) maps old (x, y, 1) to its pixels."""

    pixels: np.ndarray
    moved: np.ndarray = field(default_factory=lambda: np.eye(2, 3))

    def place(self, points: np.ndarray) -> np.ndarray:
        """Return where `points` float (N, 2) of the unaltered photo are in this one."""
        return np.asarray(points) @ self.moved[:, :2].T + self.moved[:, 2]


Alteration = Callable[[np.ndarray, Detection], Altered]


def rotated(pixels: np.ndarray, face: Detection, *, degrees: float) -> Altered:
    """Return the photo rotated anticlockwise; the frame grows to hold it, filled with black."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    # Centre onto centre; pixel centres lie half a pixel inside.
    shift = (np.array(image.size) - 1) / 2 - turn @ ((np.array([width, height]) - 1) / 2)
    return Altered(np.asarray(image), np.column_stack([turn, shift]))


def blurred(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo out of focus: a Gaussian of `BLUR` of the face."""
    blur = ImageFilter.GaussianBlur(BLUR * face.size)
    return Altered(np.asarray(Image.fromarray(pixels).filter(blur)))


def compressed(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo after JPEG at quality 30."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return Altered(np.asarray(Image.open(file).convert("RGB")))


def lit(pixels: np.ndarray, face: Detection, *, factor: float) -> Altered:
    """Return the photo with all values times `factor`, at most 255."""
    image = Image.fromarray(pixels).point(lambda value: min(round(value * factor), 255))
    return Altered(np.asarray(image))


def shrunk(pixels: np.ndarray, face: Detection, *, side: int) -> Altered:
    """Return the photo so small that the face box's shorter side is `side` pixels; never larger."""
    height, width = pixels.shape[:2]
    scale = side / face.size
    if scale >= 1:
        return Altered(pixels)
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.LANCZOS))
    factors = np.array(sides) / (width, height)
    return Altered(small, np.column_stack([np.diag(factors), (factors - 1) / 2]))


def grey(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo without colour (ITU-R 601 luma in all three channels)."""
    return Altered(np.asarray(Image.fromarray(pixels).convert("L").convert("RGB")))


def masked(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo with a mask from the bridge of the nose to below the chin."""
    across = [-0.95, -0.45, 0.0, 0.45, 0.95, 0.85, 0.45, -0.45, -0.85]
    down = [0.55, 0.48, 0.35, 0.48, 0.55, 1.45, 1.9, 1.9, 1.45]
    return _covered(pixels, face, across, down, MASK)


def sunglasses(pixels: np.ndarray, face: Detection) -> Altered:
    """Return the photo with a dark bar over both eyes, from temple to temple."""
    return _covered(pixels, face, [-1.0, 1.0, 1.0, -1.0], [-0.3, -0.3, 0.32, 0.32], GLASSES)


def _covered(
    pixels: np.ndarray, face: Detection, across: list[float], down: list[float],
    colour: tuple[int, int, int],
) -> Altered:  # fmt: skip
    """Return the photo with a polygon, fixed to the face, painted in one colour.

    Its corners are in eye distances along the axes of the face: along the eyes, and down from the
    middle between them. The axis down goes through the middle of the mouth, which is 1.15 eye
    distances below in a face seen from the front; a longer or shorter one is followed.
    """
    left, right, _, *mouth = face.landmarks.astype(np.float64)
    middle = (left + right) / 2
    below = (np.mean(mouth, axis=0) - middle) / 1.15
    corners = middle + np.outer(across, right - left) + np.outer(down, below)
    if not np.isfinite(corners).all():
        return Altered(pixels)
    image = Image.fromarray(pixels)
    limit = 10.0 * max(image.size)  # landmarks far off must not overflow the drawing
    polygon = [(float(x), float(y)) for x, y in corners.clip(-limit, limit)]
    ImageDraw.Draw(image).polygon(polygon, fill=colour)
    return Altered(np.asarray(image))


ALTERATIONS: Mapping[str, Alteration] = {
    "rotation_15": partial(rotated, degrees=15),
    "rotation_30": partial(rotated, degrees=30),
    "blur": blurred,
    "jpeg_30": compressed,
    "dark": partial(lit, factor=DARK),
    "bright": partial(lit, factor=BRIGHT),
    "face_48_px": partial(shrunk, side=48),
    "face_32_px": partial(shrunk, side=32),
    "mask": masked,
    "sunglasses": sunglasses,
    "greyscale": grey,
}


FAR = 1e-3
PHOTOS_A_PERSON = 4  # at most, so that people with hundreds of photos do not dominate
NEAR = 0.5  # of the face's side: how far off a found face may lie and still be the same


@dataclass(frozen=True)
class PhotoEmbedder:
    """Opens photos below `data`, finds their faces and embeds them.

    `embed` takes crops uint8 (N, 112, 112, 3) and returns float32 (N, D); `settings` says which
    face of a photo counts; `workers` photos are altered at once.
    """

    data: Path
    finder: FaceFinder
    embed: Callable[[np.ndarray], np.ndarray]
    settings: CropSettings
    workers: int = 1


@dataclass(frozen=True)
class AlteredFaces:
    """Of P photos under A alterations: `embeddings` float32 (A, P, D), `found` bool (A, P).

    Where a face was not found again, its embedding is 0.
    """

    names: tuple[str, ...]
    embeddings: np.ndarray
    found: np.ndarray


def embed_altered(paths: Sequence[str], photos: PhotoEmbedder) -> AlteredFaces:
    """Alter each photo of `paths`, relative to the data folder, in every way, and embed its face.

    Memory: a few photos a worker, and the embeddings.

    Raises FaceOpsError: a photo cannot be opened, or has no face before it is altered.
    """
    work = partial(alter_photo, finder=photos.finder, settings=photos.settings)
    done = ordered_map(work, [photos.data / path for path in paths], photos.workers)
    found = np.zeros((len(paths), len(ALTERATIONS)), bool)
    embedded = []
    for row, crops in enumerate(track(done, "robustness: photos altered", len(paths))):
        kept = [crop for crop in crops if crop is not None]
        found[row] = [crop is not None for crop in crops]
        if kept:
            embedded.append(photos.embed(np.stack(kept)))
    vectors = np.concatenate(embedded) if embedded else np.zeros((0, 1), np.float32)
    result = np.zeros((*found.shape, vectors.shape[1]), np.float32)
    result[found] = vectors
    return AlteredFaces(tuple(ALTERATIONS), result.transpose(1, 0, 2), found.T)


def alter_photo(
    path: Path, finder: FaceFinder, settings: CropSettings,
    alterations: Sequence[Alteration] = tuple(ALTERATIONS.values()),
) -> list[np.ndarray | None]:  # fmt: skip
    """Return the crop uint8 (112, 112, 3) of the photo's face under each alteration, or None."""
    pixels = open_photo(path, settings.limits).pixels
    face = choose_face(finder.find(pixels), (pixels.shape[1], pixels.shape[0]), settings)
    if face is None:
        raise FaceOpsError(
            f"{path} shows no usable face, though one was found in it before; it was changed: "
            "run the crop stage again."
        )
    crops = []
    for alter in alterations:
        altered = alter(pixels, face.detection)
        same = same_face(finder.find(altered.pixels), face.detection, altered)
        crops.append(None if same is None else same.crop)
    return crops


def same_face(faces: Sequence[Face], before: Detection, altered: Altered) -> Face | None:
    """Return which of `faces` of the altered photo is the one that was `before`; None if none.

    The nearest one, if its centre lies within half a side of where the face must be.
    """
    x, y, width, height = before.box
    place = altered.place(np.array([[x + width / 2, y + height / 2]]))[0]
    side = before.size * np.sqrt(abs(np.linalg.det(altered.moved[:, :2])))

    def off(face: Face) -> float:
        left, top, w, h = face.detection.box
        return float(np.hypot(left + w / 2 - place[0], top + h / 2 - place[1]))

    nearest = min(faces, key=off, default=None)
    return nearest if nearest is not None and off(nearest) <= NEAR * side else None


def measure_robustness(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds | None,
    photos: PhotoEmbedder, *, count: int, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row of figures for "unaltered" and for each alteration.

    The pairs of all test `faces` fix the threshold; about `count` faces, whole people drawn at
    random, are opened again, altered and embedded.

    Raises FaceOpsError: nobody has two photos, or a photo was changed since.
    """
    rows = choose_rows(faces.persons, count, seed)
    altered = embed_altered([str(path) for path in faces.paths[rows]], photos)
    scores = all_pair_scores(faces.embeddings, faces.persons, verifier, log_odds=True, seed=seed)
    cuts = {"": threshold_at(np.sort(scores.impostor)[::-1], FAR)}
    released, refusal = release_threshold(thresholds, FAR)
    if released is not None:
        cuts["release_"] = log_odds_of(released)
    chosen = faces.of(rows)
    table = robustness_table(chosen.embeddings, chosen.persons, altered, verifier, cuts, seed)
    shared = {
        "far": FAR,
        "far_supported": bool(len(scores.impostor) * FAR >= IMPOSTOR_PAIRS),
        "release_threshold_refused": refusal,
        "photos": len(chosen),
        "people": chosen.people,
    }
    return [row | shared for row in table]


def choose_rows(persons: np.ndarray, photos: int, seed: int) -> np.ndarray:
    """Return sorted rows int (R,): people with two photos or more, drawn at random, until
    `photos` rows are reached; at most `PHOTOS_A_PERSON` of each, drawn too.

    Raises FaceOpsError: nobody has two photos.
    """
    person = codes(persons)
    able = np.flatnonzero(np.bincount(person) >= 2)
    if not len(able):
        raise FaceOpsError(
            "robustness needs people with two photos, and there are none; give more photos."
        )
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(person))
    chosen: list[int] = []
    for one in draw.permutation(able):
        if len(chosen) >= max(photos, 2):
            break
        chosen += order[person[order] == one][:PHOTOS_A_PERSON].tolist()
    return np.sort(np.array(chosen))


def robustness_table(
    embeddings: np.ndarray, persons: np.ndarray, altered: AlteredFaces, verifier: Verifier,
    cuts: dict[str, float], seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the figures of each alteration, "unaltered" first.

    `embeddings` float32 (P, D) and `persons` (P,) of the unaltered photos, in the order of
    `altered`; `cuts` gives thresholds in log odds by the prefix that their figures get.
    """
    person = codes(persons)
    everyone = np.ones(len(person), bool)
    tested = [("unaltered", embeddings, everyone)]
    tested += list(zip(altered.names, altered.embeddings, altered.found, strict=True))
    # The same resamples for every row.
    weights = np.array(list(resampled_people(int(person.max()) + 1, seed)))
    table: list[dict[str, Any]] = []
    before: dict[str, np.ndarray] = {}
    for name, vectors, found in tested:
        tried = AlteredPairs(vectors, found, embeddings, person, verifier)
        equal = tried.at_equal_far()
        row: dict[str, Any] = {
            "alteration": name,
            "found": float(found.mean()),
            "equal_far_tar": equal.rate(np.ones(len(equal.photos))),
            "equal_far_tar_interval": interval_figures(np.array([*map(equal.rate, weights)])),
        }
        for prefix, cut in cuts.items():
            hits, pairs, false_rate = tried.accepted(cut)
            before.setdefault(prefix, hits)
            fall, drawn = before[prefix] - hits, weights @ pairs
            row |= {
                f"{prefix}tar": float(hits.sum() / pairs.sum()),
                f"{prefix}tar_interval": interval_figures(weights @ hits / drawn),
                f"{prefix}fall": float(fall.sum() / pairs.sum()),
                f"{prefix}fall_interval": interval_figures(weights @ fall / drawn),
                f"{prefix}false_accept_rate": false_rate,
                f"{prefix}threshold_log_odds": float(cut) if np.isfinite(cut) else None,
                "pairs": int(pairs.sum()),
            }
        table.append(row)
    return table


@dataclass(frozen=True)
class AlteredPairs:
    """Each photo with one alteration and every unaltered photo; P photos."""

    altered: np.ndarray  # float32 (P, D)
    found: np.ndarray  # bool (P,): the altered photo's face was found again
    embeddings: np.ndarray  # float32 (P, D), unaltered
    person: np.ndarray  # int (P,)
    verifier: Verifier

    def blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield rows, log odds (-inf where no face was found), genuine and impostor pairs."""
        for block in row_blocks(len(self.person), len(self.person)):
            score = self.verifier.logit_matrix(self.altered[block], self.embeddings)
            score[~self.found[block]] = -np.inf
            other = self.person[block][:, None] != self.person
            same = ~other
            np.fill_diagonal(same[:, block], False)  # never a photo with itself
            yield block, score, same, other

    def accepted(self, cut: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Return accepted and all genuine pairs of each person, (C,), and the false accept rate."""
        people = int(self.person.max()) + 1
        hits, pairs = np.zeros(people), np.zeros(people)
        false, impostors = 0, 0
        for block, score, same, other in self.blocks():
            passing = reaches(score, cut)
            false += int((passing & other).sum())
            impostors += int(other.sum())
            hits += np.bincount(self.person[block], (passing & same).sum(1), people)
            pairs += np.bincount(self.person[block], same.sum(1), people)
        return hits, pairs, false / impostors if impostors else float("nan")

    def at_equal_far(self) -> ResampledTar:
        """Return the true accept rate where a share `FAR` of these impostor pairs is accepted."""
        photos, rows = np.bincount(self.person), np.arange(len(self.person))
        impostors = int(photos.sum() ** 2 - (photos**2).sum())
        size = OVERSAMPLING * allowed_false_accepts(FAR, impostors) + 100
        top, genuine, whose = TopPairsCollector(size), [], []
        for block, score, same, other in self.blocks():
            genuine.append(score[same])
            whose.append(np.repeat(self.person[block], same.sum(axis=1)))
            score[~other] = -np.inf
            top.add(score, rows[block], rows)
        scores, highest = np.concatenate(genuine), top.top()
        order = np.argsort(scores, kind="stable")
        floor = highest.score[-1] if len(highest.score) == size else -np.inf
        return ResampledTar(
            far=FAR,
            photos=photos,
            person=np.concatenate(whose)[order],
            refused=np.searchsorted(scores[order], [*highest.score, floor], side="right"),
            first=self.person[highest.first],
            second=self.person[highest.second],
            each=0.5,  # two photos of two people make two pairs here: either one is altered
        )
