"""Runs that nobody made: decisions about faces as columns, and a state with pictures of them."""

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from faceops.base.reasons import Reason
from faceops.identification.engine.decide import FaceDecisions, NamedBlock
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import FACE, PhotoBlock, thumbnail
from faceops.identification.state.schema import Method, connect, transaction
from faceops.identification.summary import AlbumEstimate, Summary

METHOD = Method("made up", "made up")
PICTURES = 64  # different ones


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
        columns: of `FaceDecisions`, and `quality` and `forgotten` of the faces; others are nothing.
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
    nothing = vars(FaceDecisions.without_names(total))
    return NamedBlock(
        photos, paths, FaceDecisions(**{k: columns.get(k, nothing[k]) for k in nothing}), people
    )


@contextlib.contextmanager
def made_up_store(path: Path, blocks: Sequence[NamedBlock]) -> Iterator[FaceStore]:
    """Yield a store with a picture of each face of `blocks`."""
    with contextlib.closing(FaceStore(path, METHOD)) as store:
        add_pictures(path, blocks)
        yield store


def add_pictures(path: Path, blocks: Sequence[NamedBlock]) -> None:
    """Store a picture of each face: of one colour, by the person."""
    colours = np.random.default_rng(0).integers(0, 256, (PICTURES, 3), np.uint8)
    pictures = [thumbnail(np.full((112, 112, 3), colour, np.uint8)) for colour in colours]
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
        gallery_people=8,
        gallery_faces=16,
        detail=1280,
        annotate=False,
        xmp=False,
        album=AlbumEstimate(1234, 5678, 0.001, 0.004, ""),
        unknown_people=groups,
    )
    for block in blocks:
        summary.add(block)
    return summary
