"""A gallery of a million faces: what a search costs, and what it misses.

    python -m benchmarks.million_faces --lfw LFW --work WORK [--faces N] [--rows ROW ...]

By the thresholds of the published release. Of people with two photos or more in LFW the first half
of the photos is enrolled and the others are probes; people with one photo are probes of strangers.
All other enrolled people are made up, five faces each: their centres are drawn from a normal
distribution with the mean and the covariance of LFW's people, less what few photos add to it, and a
face differs from its centre by as much as a random face of LFW, in a direction that is as frequent
there. The line "nearest other person" shows how alike both are. LFW's embeddings are kept in WORK.

Seconds are of CPU, of all threads: they depend little on what else the machine does. Those of a
gallery in PostgreSQL are of the wall clock.
"""

import math
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from benchmarks import peak_mib
from experiments import parser
from faceops.base.nearest import Index, nearest
from faceops.gallery.faces_file import (
    COLUMNS,
    ENROLLED,
    UNSAVED,
    Embeddings,
    FaceTable,
    GalleryFace,
)
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import Gallery, locked_gallery
from faceops.identification.engine import ranking
from faceops.identification.engine.decide import FaceDecisions, decide
from faceops.identification.engine.ranking import AlbumSearch, Ranked, templates_of
from faceops.identification.forget.forget import forget_person
from faceops.registry.published import load_published
from faceops.release.evaluate.embed_photos import embed_photos, labelled_photos
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.verification.album import measure_album
from faceops.verification.normalisation import Normalisation
from faceops.verification.thresholds import NamingLimits
from tests.postgres_server import PostgresServer

PHOTOS, BLOCK, TIMED = 5, 20_000, 256
T = TypeVar("T")
CANDIDATES, AMONG = 16, 256  # nearest faces, of so many that codes find


@dataclass(frozen=True)
class Million:
    """The gallery, and the faces that are searched in it.

    Attributes:
        gallery: has the columns of a `Gallery` that a search reads, without its objects.
        probes: float32 (Q, D).
        whose: int64 (Q,), the person of each probe, -1 for a stranger.
        thresholds: of the release.
    """

    gallery: Any
    probes: np.ndarray
    whose: np.ndarray
    thresholds: Any


def root(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix whose product with its transpose is `matrix`, without negative variances."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 1e-6)), np.float32)


def make_up(
    faces: np.ndarray, owner: np.ndarray, people: int, normalisation: Normalisation
) -> np.ndarray:
    """Return faces of so many made-up people, float32 (PHOTOS people, D), like those of LFW."""
    draw, counts = np.random.default_rng(0), np.bincount(owner)
    means = np.zeros((len(counts), faces.shape[1]))
    np.add.at(means, owner, faces)
    means /= counts[:, None]
    many = np.flatnonzero(counts[owner] >= 4)
    of_many = counts[owner[many], None]
    spread = (faces[many] - means[owner[many]]) * np.sqrt(of_many / (of_many - 1))
    length = np.linalg.norm(spread, axis=1)
    across = root(np.cov((spread / length[:, None]).T))
    several = counts >= 4
    within = np.cov(spread.T) * (1 / counts[several]).mean()
    between = root(np.cov(means[several].T) - within)
    middle = means[several].mean(axis=0).astype(np.float32)
    made = np.empty((people * PHOTOS, faces.shape[1]), np.float32)
    for start in range(0, len(made), BLOCK * PHOTOS):
        some = made[start : start + BLOCK * PHOTOS]
        centres = draw.standard_normal((len(some) // PHOTOS, len(middle)), np.float32) @ between.T
        turned = draw.standard_normal(some.shape, np.float32) @ across.T
        turned *= (draw.choice(length, len(some)) / np.linalg.norm(turned, axis=1))[:, None]
        some[:] = np.repeat(middle + centres, PHOTOS, axis=0) + turned
        for columns, share in normalisation.columns:
            lengths = np.linalg.norm(some[:, columns], axis=1, keepdims=True)
            some[:, columns] *= math.sqrt(share) / lengths
    return made


def make(lfw: Path, work: Path, count: int) -> Million:
    """Return a gallery of `count` faces; print how alike real and made-up people are."""
    bundle = load_published()
    thresholds = bundle.release.thresholds
    model, found = MeasuredModel.from_bundle(bundle), labelled_photos(lfw)
    stored = embed_photos(model, found, frozenset(), work, threads=2, duplicates=True).faces
    faces = stored.embeddings
    owner = np.unique(stored.persons, return_inverse=True)[1]
    photos = np.bincount(owner)
    order = np.argsort(owner, kind="stable")
    nth = np.empty(len(owner), int)
    nth[order] = np.arange(len(owner)) - (np.cumsum(photos) - photos)[owner[order]]
    enrolled = (photos[owner] > 1) & (nth < (photos[owner] + 1) // 2)
    known, who = np.unique(owner[enrolled], return_inverse=True)
    people = max(0, count - len(who)) // PHOTOS
    assert thresholds.normalisation is not None
    made = make_up(faces, owner, people, thresholds.normalisation)
    gallery = SimpleNamespace(
        embeddings=np.concatenate([faces[enrolled], made]),
        person_rows=np.concatenate([who, len(known) + np.repeat(np.arange(people), PHOTOS)]),
        embedding_size=faces.shape[1],
    )
    probe = ~enrolled
    place = np.minimum(np.searchsorted(known, owner[probe]), len(known) - 1)
    whose = np.where(known[place] == owner[probe], place, -1)
    one = faces[nth == 0]
    for name, rows in (("LFW", one), ("made-up", made[::PHOTOS][: len(one)])):
        cosine = np.sort(nearest(rows, rows, 2)[1][:, 1])
        shown = ", ".join(f"{np.quantile(cosine, part):.3f}" for part in (0.05, 0.5, 0.95))
        print(f"nearest other person among {len(rows):,} of {name}: cosine {shown} (5, 50, 95 %)")
    print(
        f"gallery: {len(gallery.embeddings):,} faces of {gallery.person_rows.max() + 1:,} people; "
        f"{(whose >= 0).sum():,} probes of {len(known):,} known people, {(whose < 0).sum():,} of "
        "strangers",
        flush=True,
    )
    return Million(gallery, faces[probe], whose, thresholds)


def cpu(work: Callable[[], T], clock: Callable[[], float] = time.process_time) -> tuple[T, float]:
    """Return what `work` returns, and the seconds of CPU, or of the `clock`, that it took."""
    start = clock()
    return work(), clock() - start


def search_faces(million: Million) -> None:
    """Print what the nearest of all faces cost, exactly and by an index."""
    rows, queries = million.gallery.embeddings, million.probes[:TIMED]
    (exact, _), plain = cpu(partial(nearest, queries, rows, CANDIDATES))
    index, made = cpu(partial(Index, rows, "faces", exact_rows=0))
    size = rows.size / 4 / 2**20  # its codes: two numbers are four bits
    (found, _), fast = cpu(partial(index.search, queries, CANDIDATES, AMONG))
    print(
        f"nearest {CANDIDATES} faces: exact {plain / TIMED * 1e3:.1f} ms a face, index "
        f"{fast / TIMED * 1e3:.1f} ms; it is made in {made:.1f} s and takes {size:.0f} MiB; the "
        f"nearest is the same for {(found[:, 0] == exact[:, 0]).mean():.4f}",
        flush=True,
    )


def decisions(million: Million, ranked: Ranked, limit: float) -> FaceDecisions:
    """Return the decisions about the probes, each in a photo of its own."""
    photos = np.arange(len(million.probes))
    margin = million.thresholds.runner_up_margin
    limits = NamingLimits(0.5, margin, log_odds=limit, usual_log_odds=limit)
    return decide(ranked, photos, np.full(len(photos), -1, np.int8), limits)


def search_people(million: Million) -> None:
    """Print what naming costs, with all people compared and with candidates, and what changes."""
    gallery, normalisation = million.gallery, million.thresholds.normalisation
    people, seconds = cpu(partial(templates_of, normalisation, gallery))
    photos = np.arange(len(million.probes))
    album = measure_album(normalisation, million.probes, people, photos)
    ways = {}
    for way, exact_people in (("exact", len(people)), ("candidates", 0)):
        ranking.EXACT_PEOPLE = exact_people
        search, made = cpu(partial(AlbumSearch, album, gallery, people))
        ranked, taken = cpu(partial(search.rank, million.probes))
        ways[way] = ranked
        print(
            f"people, {way}: {taken / len(photos) * 1e3:.2f} ms a face; ready after "
            f"{made + seconds:.1f} s ({seconds:.1f} s of it templates)",
            flush=True,
        )
    exact, fast = ways["exact"], ways["candidates"]
    at_budget = search.threshold(million.thresholds, million.thresholds.default_budget).log_odds
    known = million.whose >= 0
    half = float(np.median(exact.scores[known, 0]))
    lowest = float(np.quantile(exact.scores[known, 0], 0.02))
    for name, limit in (("budget", at_budget), ("half", half), ("98 % of the known", lowest)):
        one, other = (decisions(million, ranked, limit) for ranked in (exact, fast))
        named, changed = one.named, one.named & other.named & (one.person != other.person)
        kept = (one.person == other.person)[named].mean() if named.any() else math.nan
        new = (~one.named & other.named).sum()
        right = (one.person == million.whose)[known].mean()
        print(
            f"threshold {limit:.1f} ({name}): {named.sum():,} named, {right:.4f} of the known "
            f"rightly, {(named & ~known).sum()} strangers; candidates keep {kept:.4f} of the "
            f"names, change {changed.sum()} to another, and name {new} faces that had none",
            flush=True,
        )
    same = fast.people == exact.people
    print(
        f"best person the same for {same[:, 0].mean():.4f} of the faces, runner-up for "
        f"{same[:, 1].mean():.4f}; log odds differ by at most "
        f"{np.abs(fast.scores - exact.scores)[same].max():.1e}"
    )


def gallery_at(million: Million, place: GalleryPlace) -> Gallery:
    """Return the gallery, not written yet, without crops."""
    rows, owner = million.gallery.embeddings, million.gallery.person_rows
    number = range(len(rows))
    columns = {
        "person": [f"Person {one:07}" for one in owner.tolist()],
        "photo_id": [f"{one:064x}" for one in number],
        "photo": [f"{one}.jpg" for one in number],
        "box": [(10.0, 10.0, 80.0, 80.0)] * len(rows),
        "detector_score": np.full(len(rows), 0.9),
        "quality": np.full(len(rows), 0.8),
        "crop_id": [""] * len(rows),
        "origin": [ENROLLED] * len(rows),
    }
    vectors = Embeddings.of(rows, *rows.shape)
    table = FaceTable(
        pa.table(columns, schema=COLUMNS), vectors, np.full(len(rows), UNSAVED, np.int64)
    )
    faces = FaceTable.joined([table], rows.shape[1])
    return Gallery(place, "c" * 64, rows.shape[1], faces, crops_id="d" * 64)


def more_faces(gallery: Gallery) -> list[GalleryFace]:
    """Return 100 faces of 20 people who are not enrolled."""
    return [
        replace(face, person=f"New {at // 5}", photo_id=f"{len(gallery.faces) + at:064x}")
        for at, face in enumerate(gallery.faces.take(np.arange(100)))
    ]


def change_gallery(million: Million) -> None:
    """Print what opening the gallery, enrolling 100 faces and forgetting a person cost.

    The gallery is in a folder. Forgetting ends with the search for what is left, which reads every
    file.
    """
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "gallery"
        _, saved = cpu(gallery_at(million, folder).save)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        opened, reading = cpu(partial(Gallery.open, folder))
        with locked_gallery(folder) as now:
            _, added = cpu(now.with_faces(more_faces(opened)).save)
        start = time.perf_counter()
        forgotten, taken = cpu(partial(forget_person, folder, "Person 0000500"))
        waited = time.perf_counter() - start
    print(
        f"a gallery in a folder: {size / 1e6:.0f} MB with its copy, all written in {saved:.1f} s, "
        f"opened in {reading:.1f} s; 100 faces added and saved in {added:.1f} s; a person with "
        f"{forgotten.gallery_faces} faces forgotten in {taken:.1f} s ({waited:.1f} s of the wall "
        f"clock), opening and the search of {forgotten.proof.megabytes:.0f} MB included",
        flush=True,
    )


def change_in_postgres(million: Million) -> None:
    """Print the same of PostgreSQL on this machine, with 1 GB of shared buffers.

    Seconds are of the wall clock, as the server works in processes of its own.
    """
    server = PostgresServer(shared_buffers="1GB", max_wal_size="8GB", fsync="on")
    server.stop()
    server.start()  # with these buffers
    with closing(server):
        storage = server.new_gallery()
        gallery = gallery_at(million, storage)
        _, written = cpu(gallery.save, time.perf_counter)
        opened, read = cpu(partial(Gallery.open, storage), time.perf_counter)
        np.testing.assert_array_equal(opened.embeddings, gallery.embeddings)
        _, added = cpu(opened.with_faces(more_faces(opened)).save, time.perf_counter)
        now = Gallery.open(storage)
        _, removed = cpu(
            now.without(now.faces.where("person", ["Person 0000500"])).save, time.perf_counter
        )
        left, purged = cpu(storage.purge, time.perf_counter)
        assert left == []
    print(
        f"in PostgreSQL: all written in {written:.1f} s, opened in {read:.1f} s; 100 faces added in"
        f" {added:.1f} s; a person removed in {removed:.1f} s, no bytes left after {purged:.1f} s",
        flush=True,
    )


ROWS = (search_faces, search_people, change_gallery, change_in_postgres)


def main() -> None:
    """Make the gallery, and print each row."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, required=True, help="person/photo.jpg")
    options.add_argument("--work", type=Path, required=True, help="keeps embeddings of LFW")
    options.add_argument("--faces", type=int, default=1_000_000)
    names = [row.__name__ for row in ROWS]
    options.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW")
    args = options.parse_args()
    million = make(args.lfw, args.work, args.faces)
    for row in ROWS:
        if row.__name__ in args.rows:
            row(million)
    print(f"peak memory: {peak_mib():,.0f} MiB")


if __name__ == "__main__":
    main()
