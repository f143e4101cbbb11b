"""Runs that nobody made: decisions about faces as columns, and a state with pictures of them."""

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from faceops.base.reasons import IDENTIFIED, NO_REASON, REJECTED, UNKNOWN, Reason, reason_code
from faceops.identification.engine.decide import Decisions, NamedBlock
from faceops.identification.engine.verdicts import NOBODY
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.found_photo import FACE, thumbnail
from faceops.identification.state.photo_block import PhotoBlock
from faceops.identification.state.schema import Method, connect, transaction
from faceops.identification.summary import AlbumEstimate, Summary
from faceops.identification.unknown.unknown_people import UnknownPeople, UnknownPerson

METHOD = Method("made up", "made up")
BLOCK = 20_000  # photos
PICTURES = 64  # different ones
_BEGINNINGS = ("Ad", "Bé", "Cor", "Dou", "El", "Fran", "Gre", "Hå", "In", "Jo", "Ka", "Lor", "Sta")
_ENDINGS = ("a", "am", "da", "e", "is", "len", "lia", "ma", "nan", "ra", "ren", "rin", "sa", "vid")


def named_block(
    root: Path,
    paths: Sequence[str],
    counts: np.ndarray,
    people: Sequence[str],
    columns: Mapping[str, np.ndarray],
    reasons: Sequence[Reason | None] | None = None,
) -> NamedBlock:
    """Return photos below `root` with so many faces each, and decisions about these.

    Args:
        columns: of `Decisions`, and `quality` and `forgotten` of the faces; others are nothing.
        reasons: why photos have no faces.
    """
    size, total = len(paths), int(counts.sum())
    faces = np.zeros(total, FACE)
    faces["box"], faces["quality"] = (10, 10, 80, 90), 0.9
    for name in ("quality", "forgotten"):
        if name in columns:
            faces[name] = columns[name]
    photos = PhotoBlock(
        paths=[str(root / path) for path in paths],
        stamps=np.zeros((size, 4), np.int64),
        photo_ids=[hashlib.sha256(path.encode()).hexdigest() for path in paths],
        reasons=list(reasons or [None if count else Reason.NO_FACE for count in counts.tolist()]),
        sizes=np.full((size, 2), 1000, np.int32),
        orientations=np.ones(size, np.int32),
        turned=np.zeros(size, np.int32),
        opened=np.ones(size, bool),
        reembedded=np.zeros(size, bool),
        failures={},
        starts=np.cumsum([0, *counts.tolist()]),
        faces=faces,
        embeddings=np.zeros((0, 4), np.float32),
    )
    nothing = vars(Decisions.without_names(total))
    return NamedBlock(
        photos, paths, Decisions(**{k: columns.get(k, nothing[k]) for k in nothing}), people
    )


def names(count: int) -> list[str]:
    """Return `count` different names, sorted."""
    parts = [first + last for first in _BEGINNINGS for last in _ENDINGS]
    step = len(parts)
    return sorted(f"{parts[n % step]} {parts[(n * 7 + n // step) % step]}" for n in range(count))


def made_up_blocks(
    root: Path, faces: int, people: int, seed: int = 0, block: int = BLOCK
) -> Iterator[NamedBlock]:
    """Yield photos with about `faces` faces; 3 of 4 are named, some people often."""
    random, known, made = np.random.default_rng(seed), names(people), 0
    first = 0
    while made < faces:
        counts = random.choice(4, block, p=(0.1, 0.6, 0.2, 0.1))
        counts = counts[: int(np.searchsorted(np.cumsum(counts), faces - made)) + 1]
        total = int(counts.sum())
        chance = random.random(total)
        kind = np.select([chance < 0.75, chance < 0.95], [IDENTIFIED, UNKNOWN], REJECTED)
        reason = np.select(
            [kind == IDENTIFIED, chance < 0.78, kind == UNKNOWN],
            [NO_REASON, reason_code(Reason.AMBIGUOUS), reason_code(Reason.BELOW_THRESHOLD)],
            reason_code(Reason.LOW_QUALITY),
        )
        compared = kind != REJECTED
        best = (random.random(total) ** 2 * people).astype(np.int32)
        sure = np.where(kind == IDENTIFIED, 1 - random.random(total) ** 3 / 9, random.random(total))
        columns = {
            "kind": kind.astype(np.int8),
            "reason": reason.astype(np.int8),
            "best": np.where(compared, best, NOBODY).astype(np.int32),
            "runner_up": np.where(compared, (best + 1) % people, NOBODY).astype(np.int32),
            "probability": np.where(compared, sure, np.nan).astype(np.float32),
            "runner_up_probability": np.where(compared, sure * 0.9, np.nan).astype(np.float32),
            "stranger_share": np.where(compared, (1 - sure) / 90, np.nan).astype(np.float32),
            "quality": random.random(total),
        }
        numbers = range(first, first + len(counts))
        paths = [f"{2000 + n % 26}/{n % 12 + 1:02d} Holiday/IMG_{n:07d}.jpg" for n in numbers]
        yield named_block(root, paths, counts, known, columns)
        first, made = first + len(counts), made + total


def unknown_people(blocks: Sequence[NamedBlock], size: int = 6) -> UnknownPeople:
    """Return unknown people with `size` faces each, of half of the unknown faces of `blocks`."""
    codes = [reason_code(Reason.BELOW_THRESHOLD), reason_code(Reason.GALLERY_EMPTY)]
    count = sum(int(np.isin(block.decisions.reason, codes).sum()) for block in blocks)
    groups = count // 2 // size
    rows = np.arange(groups * size).reshape(groups, size) * 2
    people = [UnknownPerson(n + 1, size, own) for n, own in enumerate(rows)]
    alone = np.setdiff1d(np.arange(count), rows)
    return UnknownPeople(pa.table({}), people, alone)


@contextlib.contextmanager
def made_up_store(path: Path, blocks: Sequence[NamedBlock]) -> Iterator[FaceStore]:
    """Yield a store with a picture of each face of `blocks`."""
    with contextlib.closing(FaceStore(path, METHOD)) as store:
        add_pictures(path, blocks)
        yield store


def add_pictures(path: Path, blocks: Sequence[NamedBlock]) -> None:
    """Store a picture of each face: a plain face, of some colour."""
    pictures = [thumbnail(drawn_face(number)) for number in range(PICTURES)]
    with contextlib.closing(connect(path)) as db, transaction(db):
        (number,) = db.execute("SELECT coalesce(max(id), 0) FROM photos").fetchone()
        for block in blocks:
            photos = block.photos
            ids = range(number + 1, number + 1 + len(photos))
            number += len(photos)
            db.executemany(
                "INSERT INTO photos (id, photo_id, finder, faces) VALUES (?, ?, ?, x'')",
                zip(ids, photos.photo_ids, itertools.repeat(METHOD.finder), strict=False),
            )
            places = (photos.photo_of_face, photos.face_index, np.maximum(block.decisions.best, 0))
            columns = zip(*(column.tolist() for column in places), strict=True)
            db.executemany(
                "INSERT INTO pictures VALUES (?, ?, ?, NULL)",
                ((ids[photo], index, pictures[best % PICTURES]) for photo, index, best in columns),
            )


def drawn_face(number: int) -> np.ndarray:
    """Return uint8 (112, 112, 3): an oval with eyes and a mouth on some background, and noise."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[-1:1:112j, -1:1:112j]
    image = np.empty((112, 112, 3))
    image[:] = random.uniform(40, 200, 3)
    image[(x / 0.6) ** 2 + (y / 0.85) ** 2 < 1] = random.uniform((150, 110, 80), (250, 210, 180))
    for side in (-0.25, 0.25):
        image[(x - side) ** 2 + (y + 0.2) ** 2 < 0.008] = 30
    image[(abs(x) < 0.25) & (abs(y - 0.4 - x**2 * random.uniform(-1, 1)) < 0.04)] = (150, 40, 50)
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def made_up_summary(root: Path, blocks: Sequence[NamedBlock], groups: int) -> Summary:
    """Return the summary of a run with `groups` unknown people."""
    summary = Summary(
        run_id="20261129T120000Z-abcdef",
        photos_folder=str(root),
        started="2026-11-29T12:00:00+00:00",
        release="made up",
        contract_id="0" * 64,
        budget=0.01,
        threshold=0.9,
        threshold_measured=True,
        runner_up_margin=1.0,
        gallery_people=len(blocks[0].people),
        gallery_faces=2 * len(blocks[0].people),
        detail=1280,
        annotate=False,
        xmp=False,
        album=AlbumEstimate(1234, 5678, 0.001, 0.004, ""),
        unknown_people=groups,
    )
    for block in blocks:
        summary.add(block)
    return summary
