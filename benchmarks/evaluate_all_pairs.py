"""Time and memory of evaluation over all pairs, for N faces and for twice as many.

Usage: python benchmarks/evaluate_all_pairs.py [--faces 13233] [--embeddings FILE.npz]

Without a file the embeddings are seeded unit vectors of people with as many photos as LFW's have.
A file holds `embeddings` float32 (N, D) and `persons` text (N,); for 2N faces its people come a
second time, turned by a random rotation: other people who are as like themselves. Each size runs
in a process of its own, so that its peak memory is its own. The plain way to score pairs, row by
row, is timed on a slice and counted up.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.one_against_ten import one_against_ten
from faceops.evaluation.open_set import open_set
from faceops.evaluation.pair_intervals import pair_intervals
from faceops.evaluation.pair_scan import scan_pairs
from faceops.evaluation.random_pairs import random_pairs
from faceops.verification.verifier import Verifier

FARS = [1e-2, 1e-3, 1e-4]
SIZE = 128
_SLICE = 1_000_000  # pairs scored row by row
_STEP = 1 << 15


def simulated(faces: int) -> EmbeddedFaces:
    """Return `faces` photos; two people in three have one photo, few have very many."""
    draw = np.random.default_rng(0)
    photos = np.minimum(draw.zipf(2.2, faces), 500)
    person = np.repeat(np.arange(faces), photos)[:faces]
    centres = draw.normal(size=(person[-1] + 1, SIZE))
    rows = centres[person] + 0.7 * draw.normal(size=(faces, SIZE))
    return unit(rows, person.astype(str))


def doubled(faces: EmbeddedFaces) -> EmbeddedFaces:
    """Return the faces and, as other people, the same turned by a random rotation."""
    size = faces.embeddings.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    rows = np.concatenate([faces.embeddings, faces.embeddings @ rotation])
    return unit(rows, np.concatenate([faces.persons, np.char.add("turned ", faces.persons)]))


def unit(rows: np.ndarray, persons: np.ndarray) -> EmbeddedFaces:
    """Return the faces with normalised rows."""
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return EmbeddedFaces(rows, persons, persons)


def measure(faces: int, embeddings: Path | None, twice: bool) -> dict[str, float]:
    """Return seconds of each part, its MB over what the process held before, and counts."""
    if embeddings:
        with np.load(embeddings, allow_pickle=False) as file:
            table = unit(file["embeddings"], file["persons"])
        table = doubled(table) if twice else table
    else:
        table = simulated(faces * (1 + twice))
    verifier = Verifier(np.full(table.embeddings.shape[1], -12, np.float32), 9.0, "distance")
    before = peak_mb()
    result: dict[str, float] = {"faces": len(table), "people": table.people}

    def timed(name: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        done = work()
        result[name] = time.perf_counter() - start
        return done

    scan = timed("all pairs", lambda: scan_pairs(table, verifier, FARS))
    result["impostor pairs"] = scan.roc.impostors  # type: ignore[attr-defined]
    result["genuine pairs"] = len(scan.roc.genuine)  # type: ignore[attr-defined]
    timed("intervals", lambda: pair_intervals(scan, FARS, 7))  # type: ignore[arg-type]
    timed("closed set", lambda: closed_set(table, verifier))
    timed("one against ten", lambda: one_against_ten(table, verifier))
    timed("random pairs", lambda: random_pairs(table, verifier, 6000, 7).figures(FARS, None, 7))
    timed("open set", lambda: open_set(table, verifier, None, gallery_photos=1,
                                       unknown_share=0.5, seed=7, draws=1))  # fmt: skip
    result["peak MB"] = peak_mb() - before
    result["row by row, a pair"] = row_by_row(table, verifier)
    return result


def row_by_row(table: EmbeddedFaces, verifier: Verifier) -> float:
    """Return the seconds that a pair takes when the two rows are gathered and compared."""
    first, second = np.random.default_rng(0).integers(0, len(table), (2, _SLICE))
    start = time.perf_counter()
    for at in range(0, _SLICE, _STEP):
        part = slice(at, at + _STEP)
        verifier.logit(table.embeddings[first[part]], table.embeddings[second[part]])
    return (time.perf_counter() - start) / _SLICE


def peak_mb() -> float:
    """The most memory that this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=13_233)
    parser.add_argument("--embeddings", type=Path, help="npz with embeddings and persons")
    arguments = parser.parse_args()
    columns = []
    for twice in (False, True):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            columns.append(pool.apply(measure, (arguments.faces, arguments.embeddings, twice)))
    once, double = columns
    print(f"{'':<22}{'N':>14}{'2N':>14}{'growth':>9}")
    for name, value in once.items():
        shown = "14,.0f" if value >= 1000 else "14.3g"
        print(f"{name:<22}{value:>{shown}}{double[name]:>{shown}}{double[name] / value:>9.2f}")
    for column in columns:
        pairs = column["impostor pairs"] + column["genuine pairs"]
        plain = pairs * column["row by row, a pair"]
        print(
            f"{column['faces']:,.0f} faces: all pairs row by row would take {plain:.0f} s, without "
            f"any counting; by blocks {column['all pairs']:.1f} s, "
            f"{plain / column['all pairs']:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
