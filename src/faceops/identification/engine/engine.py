"""The batch engine: groups of photos are looked at and named at once, in bounded memory.

A group is cut by its photos' place in the folder and is one unit of work for a thread, so an
interrupted run embeds the same batches as an undisturbed one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.parallel import ordered_map
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.gallery.policy import FacePolicy
from faceops.gallery.store import Gallery
from faceops.identification.engine.decide import Decision, decide, rank_people
from faceops.identification.engine.extract import GROUP, Looker
from faceops.identification.state.face_store import SeenFile
from faceops.identification.state.found_photo import FoundPhoto
from faceops.release.bundle import Bundle


@dataclass(frozen=True, eq=False)
class NamedPhoto:
    """A photo with a decision for each face; `opened` when its bytes were decoded in this run.

    `file` is the file as it was looked at, None where it was none or has to be tried again;
    `reembedded` when its faces were embedded in this run from crops that were kept.
    """

    path: Path
    photo: FoundPhoto
    decisions: list[Decision]
    opened: bool
    file: SeenFile | None = None
    reembedded: bool = False


@dataclass(frozen=True)
class Rule:
    """What a name takes; see `decide`."""

    threshold: float
    runner_up_margin: float
    policy: FacePolicy


def name_group(
    photos: Sequence[FoundPhoto], gallery: Gallery, bundle: Bundle, rule: Rule
) -> list[list[Decision]]:
    """Return the decisions for the faces of each photo."""
    faces = [face for photo in photos for face in photo.faces]
    refusals = [
        Reason.FORGOTTEN if face.forgotten else rule.policy.refusal(face.size, face.quality)
        for face in faces
    ]
    usable = [face.embedding for face, why in zip(faces, refusals, strict=True) if why is None]
    queries = np.stack(usable) if usable else np.zeros((0, gallery.embedding_size), np.float32)
    ranked = iter(
        rank_people(queries, gallery.embeddings, gallery.people, gallery.person_rows, bundle.verify)
    )
    candidates = [[] if why is not None else next(ranked) for why in refusals]
    decisions, start = [], 0
    for photo in photos:
        stop = start + len(photo.faces)
        decisions.append(
            decide(
                candidates[start:stop],
                refusals[start:stop],
                rule.threshold,
                rule.runner_up_margin,
                gallery_is_empty=not gallery.faces,
            )
        )
        start = stop
    return decisions


def name_photos(
    paths: Sequence[Path], looker: Looker, gallery: Gallery, rule: Rule, threads: int
) -> Iterator[NamedPhoto]:
    """Yield the photos of `paths` in order, named, worked on by `threads` threads."""

    def name(group: Sequence[Path]) -> list[NamedPhoto]:
        looked = looker.look(group)
        with looker.clock.part("name"):
            decisions = name_group([one.photo for one in looked], gallery, looker.bundle, rule)
        return [
            NamedPhoto(one.path, one.photo, decided, one.opened, one.file, one.reembedded)
            for one, decided in zip(looked, decisions, strict=True)
        ]

    groups = (paths[start : start + GROUP] for start in range(0, len(paths), GROUP))
    named = (photo for group in ordered_map(name, groups, threads) for photo in group)
    return track(named, "identify", total=len(paths))
