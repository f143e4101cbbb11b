"""What it costs to group the unknown faces of large albums, and how well they are grouped.

    python -m benchmarks.group_unknown --bundle build/export [--faces N] [--as-if N]

The faces are made from those of the last pipeline run: people are drawn from a normal distribution
with the mean and the covariance of its people, 1 to 50 faces each, 10 on average; a face is its
person and a difference as long as that of a random face of the run, in a direction that is as
frequent there. Up to three faces are in one
photo. Grouped are 99 % of the photos from nothing, then all, then all but the faces of one person:
each in a process of its own, of which seconds and peak memory (with mapped pages) are printed.
"""

import argparse
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.identification.unknown.unknown_people import (
    find_unknown_people,
    write_unknown_people,
)
from faceops.release.bundle import Bundle

BLOCK = 1 << 16


@dataclass(frozen=True)
class Album:
    """Where the faces are, and by which release they are grouped."""

    folder: Path
    bundle: Path
    as_if: int | None  # so many faces, for the threshold; None: as many as there are


def make(folder: Path, faces: int, build: Path) -> np.ndarray:
    """Write float32 embeddings into `folder`; return the person of each face."""
    draw = np.random.default_rng(0)
    stored = np.load(build / "embed/embeddings.npy")
    names = pq.read_table(build / "split/faces.parquet", columns=["person"])["person"].to_pylist()
    _, owner, counts = np.unique(names, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), stored.shape[1]))
    np.add.at(means, owner, stored)
    means /= counts[:, None]
    # How the faces of people with 4 to 50 photos differ from the mean of the others: how much, and
    # the covariance of the direction.
    many = np.flatnonzero((counts[owner] >= 4) & (counts[owner] <= 50))
    of_many = counts[owner[many], None]
    spread = (stored[many] - means[owner[many]]) * np.sqrt(of_many / (of_many - 1))
    length = np.linalg.norm(spread, axis=1)
    across = root_of(spread / length[:, None])
    several = means[counts >= 4]
    sizes = np.clip(draw.geometric(0.1, faces), 1, 50)
    person = draw.permutation(np.repeat(np.arange(faces), sizes)[:faces])
    centre = several.mean(axis=0)
    root = root_of(several)
    people = np.empty((person.max() + 1, len(centre)), np.float32)
    for start in range(0, len(people), BLOCK):
        some = people[start : start + BLOCK]
        some[:] = centre + draw.standard_normal(some.shape) @ root.T
    with (folder / "embeddings").open("wb") as file:
        for start in range(0, faces, BLOCK):
            some = people[person[start : start + BLOCK]]
            turned = draw.standard_normal(some.shape) @ across.T
            turned *= (draw.choice(length, len(some)) / np.linalg.norm(turned, axis=1))[:, None]
            some += turned
            file.write((some / np.linalg.norm(some, axis=1, keepdims=True)).astype("<f4").tobytes())
    return person


def root_of(rows: np.ndarray) -> np.ndarray:
    """Return the Cholesky root of the covariance of rows (N, D)."""
    return np.linalg.cholesky(np.cov(rows.T) + 1e-6 * np.eye(rows.shape[1]))


def write_records(folder: Path, unknown: np.ndarray) -> None:
    """Write the records of some faces, bool (N,): whether they are unknown."""
    faces = len(unknown)
    starts = np.flatnonzero(np.random.default_rng(1).random(faces) < 0.6)
    starts = np.union1d([0], starts)
    index = np.arange(faces) - np.repeat(starts, np.diff(starts, append=faces))
    photo, index = np.arange(faces) - index % 3, index % 3
    columns: dict[str, Any] = {
        "photo_id": [f"{one:064x}" for one in photo.tolist()],
        "photo_path": [f"2026/holiday/photo {one:08d}.jpg" for one in photo.tolist()],
        "face_index": index.astype(np.int32),
        **{name: np.full(faces, 60.25) for name in ("x", "y", "width", "height", "quality")},
        "reason": np.where(unknown, "below_threshold", None),
    }
    pq.write_table(pa.table(columns), folder / "faces.parquet", row_group_size=20_000)


def group(album: Album, faces: int) -> tuple[np.ndarray, str]:
    """Return the number of the person of each row of the records, 0 for none, and what it took."""
    bundle = Bundle.load(album.bundle)
    thresholds = bundle.release.thresholds
    if album.as_if:
        budget = thresholds.default_budget
        same = thresholds.for_search(budget, album.as_if)
        thresholds = SimpleNamespace(default_budget=budget, for_search=lambda *_: same)
    size = bundle.release.embedding_size
    release = SimpleNamespace(thresholds=thresholds, embedding_size=size)
    used: Any = SimpleNamespace(release=release, verify=bundle.verify)
    embeddings = np.memmap(album.folder / "embeddings", "<f4", "r", shape=(faces, size))
    start, cpu = time.monotonic(), time.process_time()
    found = find_unknown_people(
        album.folder / "faces.parquet", embeddings, used, album.folder / "state.sqlite"
    )
    write_unknown_people(found, album.folder)
    seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    number = np.zeros(found.faces.num_rows, np.int64)
    for person in found.people:
        number[person.rows] = person.number
    return number, f"{seconds:.1f} s, {cpu:.1f} s of CPU, {peak:,.0f} MiB"


def pairs(values: np.ndarray) -> int:
    """Return how many pairs have the same value."""
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description="grouping of unknown faces")
    parser.add_argument("--bundle", type=Path, default=Path("build/export"))
    parser.add_argument(
        "--build", type=Path, default=Path("build"), help="of the last pipeline run"
    )
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--as-if", type=int, help="threshold of an album of so many faces")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        album = Album(Path(name), args.bundle, args.as_if)
        person = make(album.folder, args.faces, args.build)
        most, last = int(args.faces * 0.99), np.zeros(args.faces, np.int64)
        for step, faces in (
            ("from nothing", most),
            ("1 % new", args.faces),
            ("one less", args.faces),
        ):
            unknown = np.ones(faces, bool)
            if step == "one less":
                unknown = person != person[0]
            write_records(album.folder, unknown)
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                number, costs = alone.submit(group, album, faces).result()
            who, grouped = person[:faces][unknown], number > 0
            together = pairs(who[grouped] * (number.max() + 1) + number[grouped])
            had = last[:faces][unknown]
            stays = (number == had)[had > 0]
            last[:faces][unknown] = number
            print(
                f"{step}: {int(unknown.sum()):,} faces in {costs}; pair precision "
                f"{together / max(1, pairs(number[grouped])):.4f}, recall "
                f"{together / pairs(who):.4f}"
                + (f"; {stays.mean():.4%} keep their number" if len(stays) else ""),
                flush=True,
            )


if __name__ == "__main__":
    main()
