"""The true accept rate that remains when a photo is altered.

A pair is an altered photo and another, unaltered photo of the same person: a poor picture
against a good one, as in a gallery. The threshold is fixed on unaltered photos. A face that is
not found again is a miss. The fall is a paired difference: the same pairs with and without the
alteration, people resampled. At a fixed threshold a model gains by giving all altered photos higher
scores, those of other people too. So each alteration also has the TAR at the threshold that keeps
the false accept rate of its own pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import allowed_false_accepts, threshold_at
from faceops.base.work import ordered_map, track
from faceops.evaluation.protocols.album_scores import release_threshold
from faceops.evaluation.protocols.all_pairs import OVERSAMPLING, TopPairsCollector
from faceops.evaluation.protocols.alterations import ALTERATIONS, Altered
from faceops.faces.crop_photos import CropSettings, choose_face
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face, FaceFinder
from faceops.photos.open_photo import open_photo
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import ResampledTar, interval_figures, resampled_people
from faceops.verification.pairs import all_pair_scores, codes, row_blocks
from faceops.verification.thresholds import IMPOSTOR_PAIRS, Thresholds, log_odds_of
from faceops.verification.verifier import Verifier, reaches

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

    Raises:
        FaceOpsError: a photo cannot be opened, or has no face before it is altered.
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
    size = embedded[0].shape[1] if embedded else 1
    result = np.zeros((*found.shape, size), np.float32)
    if embedded:
        result[found] = np.concatenate(embedded)
    return AlteredFaces(tuple(ALTERATIONS), result.transpose(1, 0, 2), found.T)


def alter_photo(path: Path, finder: FaceFinder, settings: CropSettings) -> list[np.ndarray | None]:
    """Return the crop uint8 (112, 112, 3) of the photo's face under each alteration, or None."""
    pixels = open_photo(path, settings.limits).pixels
    height, width = pixels.shape[:2]
    policy = settings.several_faces
    face = choose_face(finder.find(pixels), width, height, policy, settings.min_face)
    if face is None:
        raise FaceOpsError(
            f"{path} shows no usable face, though one was found in it before; it was changed: "
            "run the crop stage again."
        )
    crops = []
    for alter in ALTERATIONS.values():
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

    `faces` are all test faces: their pairs fix the threshold; about `count` of them, whole people
    drawn at random, are opened again, altered and embedded.

    Raises:
        FaceOpsError: nobody has two photos, or a photo was changed since.
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

    Raises:
        FaceOpsError: nobody has two photos.
    """
    person = codes(persons)
    able = np.flatnonzero(np.bincount(person) >= 2) if len(person) else np.zeros(0, int)
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
        equal = _at_equal_far(vectors, found, embeddings, person, verifier)
        row: dict[str, Any] = {
            "alteration": name,
            "found": float(found.mean()),
            "equal_far_tar": equal.rate(np.ones(len(equal.photos))),
            "equal_far_tar_interval": interval_figures(np.array([*map(equal.rate, weights)])),
        }
        for prefix, cut in cuts.items():
            hits, pairs, false_rate = _accepted(vectors, found, embeddings, person, verifier, cut)
            before.setdefault(prefix, hits)
            fall = before[prefix] - hits
            row |= {
                f"{prefix}tar": float(hits.sum() / pairs.sum()),
                f"{prefix}tar_interval": _interval(hits, pairs, weights),
                f"{prefix}fall": float(fall.sum() / pairs.sum()),
                f"{prefix}fall_interval": _interval(fall, pairs, weights),
                f"{prefix}false_accept_rate": false_rate,
                f"{prefix}threshold_log_odds": float(cut) if np.isfinite(cut) else None,
                "pairs": int(pairs.sum()),
            }
        table.append(row)
    return table


def _accepted(
    altered: np.ndarray, found: np.ndarray, embeddings: np.ndarray, person: np.ndarray,
    verifier: Verifier, cut: float,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Return accepted and all genuine pairs of each person, (C,), and the false accept rate."""
    people = int(person.max()) + 1
    hits, pairs = np.zeros(people), np.zeros(people)
    false, impostors = 0, 0
    for block in row_blocks(len(person), len(person)):
        whose = person[block]
        accepted = reaches(verifier.logit_matrix(altered[block], embeddings), cut)
        accepted &= found[block][:, None]
        same = whose[:, None] == person
        false += int((accepted & ~same).sum())
        impostors += int((~same).sum())
        np.fill_diagonal(same[:, block], False)  # never a photo with itself
        hits += np.bincount(whose, (accepted & same).sum(1), people)
        pairs += np.bincount(whose, same.sum(1), people)
    return hits, pairs, false / impostors if impostors else float("nan")


def _at_equal_far(
    altered: np.ndarray, found: np.ndarray, embeddings: np.ndarray, person: np.ndarray,
    verifier: Verifier,
) -> ResampledTar:  # fmt: skip
    """Return the true accept rate where a share `FAR` of these impostor pairs is accepted."""
    photos = np.bincount(person)
    impostors = int(photos.sum() ** 2 - (photos**2).sum())
    size = OVERSAMPLING * allowed_false_accepts(FAR, impostors) + 100
    top, genuine, whose = TopPairsCollector(size), [], []
    for block in row_blocks(len(person), len(person)):
        score = verifier.logit_matrix(altered[block], embeddings)
        score[~found[block]] = -np.inf
        same = person[block][:, None] == person
        own = same.copy()
        np.fill_diagonal(own[:, block], False)  # never a photo with itself
        genuine.append(score[own])
        whose.append(np.repeat(person[block], own.sum(axis=1)))
        score[same] = -np.inf
        top.add(score, np.arange(len(person))[block], np.arange(len(person)))
    scores, highest = np.concatenate(genuine), top.top()
    order = np.argsort(scores, kind="stable")
    floor = highest.score[-1] if len(highest.score) == size else -np.inf
    return ResampledTar(
        far=FAR,
        photos=photos,
        person=np.concatenate(whose)[order],
        refused=np.searchsorted(scores[order], [*highest.score, floor], side="right"),
        first=person[highest.first],
        second=person[highest.second],
        each=0.5,  # two photos of two people make two pairs here: either one is altered
    )


def _interval(hits: np.ndarray, pairs: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Return the 95 % interval of accepted pairs over resampled people, `weights` (R, C)."""
    return interval_figures(weights @ hits / (weights @ pairs))
