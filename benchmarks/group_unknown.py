"""What it costs to group the unknown faces of large albums, and how well they are grouped.

    python -m benchmarks.group_unknown --lfw LFW/lfw-deepfunneled --work WORK --faces N [--as-if N]

By the published release, so no pipeline run is needed. LFW's faces, whose embeddings are kept in
WORK, are at random places among made-up ones: people are drawn from a normal distribution with the
mean and the covariance of LFW's people, 1 to 50 faces each, 10 on average; a face is its person and
a difference as long as that of a random face of LFW, in a direction that is as frequent there. Up
to three faces are in one photo. First LFW's faces are grouped alone, at the threshold of their
number and at that of all faces; then 99 % of all from nothing, then all, then all but those of one
person: each in a process of its own, of which seconds and peak memory (with mapped pages) are
printed.

Pairs: precision and recall of "same group" as a prediction of "same person", of all faces.
B-cubed: the same, averaged over the faces of LFW, in whose groups made-up faces are errors.
"""

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import peak_mib
from faceops.identification.unknown.unknown_people import (
    find_unknown_people,
    write_unknown_people,
)
from faceops.registry.published.assemble import load_published

BLOCK = 1 << 16


def make(path: Path, faces: int, stored: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Write float32 embeddings of LFW's and made-up faces; return each one's person, int64 (N,).

    Args:
        stored: float32 (L, D), of LFW's faces.
        owner: int (L,), their people, from 0 up: the first ones.
    """
    draw = np.random.default_rng(0)
    counts = np.bincount(owner)
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
    centre, root = several.mean(axis=0), root_of(several)
    sizes = np.clip(draw.geometric(0.1, faces), 1, 50)
    made = np.repeat(np.arange(len(counts), len(counts) + faces), sizes)[: faces - len(stored)]
    place = draw.permutation(faces)
    person = np.concatenate([owner, made])[place]
    people = np.empty((max(made.max(initial=0), owner.max()) + 1, len(centre)), np.float32)
    for start in range(0, len(people), BLOCK):
        some = people[start : start + BLOCK]
        some[:] = centre + draw.standard_normal(some.shape) @ root.T
    with path.open("wb") as file:
        for start in range(0, faces, BLOCK):
            some = people[person[start : start + BLOCK]]
            turned = draw.standard_normal(some.shape) @ across.T
            turned *= (draw.choice(length, len(some)) / np.linalg.norm(turned, axis=1))[:, None]
            some += turned
            real = np.flatnonzero(place[start : start + BLOCK] < len(stored))
            some[real] = stored[place[start + real]]
            file.write((some / np.linalg.norm(some, axis=1, keepdims=True)).astype("<f4").tobytes())
    return person


def root_of(rows: np.ndarray) -> np.ndarray:
    """Return the Cholesky root of the covariance of rows (N, D)."""
    return np.linalg.cholesky(np.cov(rows.T) + 1e-6 * np.eye(rows.shape[1]))


def write_records(folder: Path, unknown: np.ndarray, alone: float) -> None:
    """Write the records of some faces, bool (N,): whether they are unknown.

    `alone` is the share of faces that begin a photo; the third face of a photo is its last.
    """
    faces = len(unknown)
    starts = np.flatnonzero(np.random.default_rng(1).random(faces) < alone)
    starts = np.union1d([0], starts)
    index = np.arange(faces) - np.repeat(starts, np.diff(starts, append=faces))
    photo, index = np.arange(faces) - index % 3, index % 3
    texts, number = ("photo_id", "photo_path", "reason"), ("x", "y", "width", "height", "quality")
    fields = [(name, pa.string()) for name in texts] + [(name, pa.float64()) for name in number]
    schema = pa.schema([*fields, ("face_index", pa.int32())])
    with pq.ParquetWriter(folder / "faces.parquet", schema) as file:
        for start in range(0, faces, BLOCK):
            some = slice(start, start + BLOCK)
            columns: dict[str, Any] = {
                "photo_id": [f"{one:064x}" for one in photo[some].tolist()],
                "photo_path": [f"2026/holiday/photo {one:08d}.jpg" for one in photo[some].tolist()],
                "reason": ["below_threshold" if one else None for one in unknown[some].tolist()],
                **{name: np.full(len(photo[some]), 60.25) for name in number},
                "face_index": index[some].astype(np.int32),
            }
            file.write_table(pa.table(columns, schema), row_group_size=20_000)


def group(folder: Path, faces: int, as_if: int) -> tuple[np.ndarray, str]:
    """Return the number of the person of each unknown face, 0 for none, and what it took.

    `as_if` is the number of faces for whose album the threshold is.
    """
    bundle = load_published()
    thresholds, size = bundle.release.thresholds, bundle.release.embedding_size
    budget = thresholds.default_budget
    same = thresholds.for_groups(budget, as_if)
    fixed = SimpleNamespace(default_budget=budget, for_groups=lambda *_: same)
    release = SimpleNamespace(thresholds=fixed, embedding_size=size)
    used: Any = SimpleNamespace(release=release, verify=bundle.verify)
    embeddings = np.memmap(folder / "embeddings", "<f4", "r", shape=(faces, size))
    start, cpu = time.monotonic(), time.process_time()
    found = find_unknown_people(folder / "faces.parquet", embeddings, used, folder / "state.sqlite")
    write_unknown_people(found, folder)
    seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    number = np.zeros(found.faces.num_rows, np.int64)
    for person in found.people:
        number[person.rows] = person.number
    return number, f"{seconds:.1f} s, {cpu:.1f} s of CPU, {peak_mib():,.0f} MiB"


def pairs(values: np.ndarray) -> int:
    """Return how many pairs have the same value."""
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def scores(person: np.ndarray, number: np.ndarray, real: np.ndarray) -> str:
    """Return precision and recall: of pairs, and B-cubed of the faces `real`, bool (N,).

    `person` and `number`, int64 (N,), are whose a face is, and what it was taken for, 0 for nobody.
    """
    grouped = number > 0
    both = person * (number.max() + 1) + number
    together = pairs(both[grouped])
    alone = np.flatnonzero(~grouped)
    number, both = number.copy(), both.copy()
    number[alone] = -1 - alone
    both[alone] = -1 - alone
    right, group, own = (sizes(one)[real] for one in (both, number, person))
    return (
        f"pairs {together / max(1, pairs(number[grouped])):.4f} / "
        f"{together / pairs(person):.4f}, B-cubed of LFW's faces {(right / group).mean():.4f} / "
        f"{(right / own).mean():.4f}"
    )


def sizes(values: np.ndarray) -> np.ndarray:
    """Return how many rows have the value of each one."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[place]


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(description="grouping of unknown faces")
    parser.add_argument("--lfw", type=Path, required=True, help="person/photo.jpg")
    parser.add_argument("--work", type=Path, required=True, help="keeps embeddings of LFW")
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--as-if", type=int, help="threshold of an album of so many faces")
    args = parser.parse_args()
    from experiments.embedders import embed_folder, joined  # torch, which counts as memory

    lfw = embed_folder(args.lfw, args.work).faces
    share = load_published().release.params["export"]["dlib_share"]
    stored = joined(lfw.embeddings, share)
    owner = np.unique(lfw.persons, return_inverse=True)[1]
    as_if = args.as_if or args.faces

    def step(name: str, unknown: np.ndarray, as_if: int, alone: float = 0.6) -> None:
        """Group the first faces, of which some are unknown, and print what it took."""
        write_records(folder, unknown, alone)
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            number, costs = process.submit(group, folder, len(unknown), as_if).result()
        who = person[: len(unknown)][unknown]
        found = scores(who, number, who <= owner.max())
        had = last[: len(unknown)][unknown]
        stays = f"; {(number == had)[had > 0].mean():.4%} keep their number" if had.any() else ""
        print(f"{name}: {int(unknown.sum()):,} faces in {costs}; {found}{stays}", flush=True)
        last[: len(unknown)][unknown] = number

    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder, last = Path(name) / "lfw", np.zeros(args.faces, np.int64)
        folder.mkdir()
        person = owner
        stored.tofile(folder / "embeddings")
        step("LFW alone, own threshold", np.ones(len(owner), bool), len(owner), 1)
        step("LFW alone", np.ones(len(owner), bool), as_if, 1)
        folder, last = Path(name), np.zeros(args.faces, np.int64)
        person = make(folder / "embeddings", args.faces, stored, owner)
        step("from nothing", np.ones(int(args.faces * 0.99), bool), as_if)
        step("1 % new", np.ones(args.faces, bool), as_if)
        step("one less", person != person[0], as_if)


if __name__ == "__main__":
    main()
