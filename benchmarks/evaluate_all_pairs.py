"""Time and memory of evaluation over all pairs, for N faces and for twice as many.

    python -m benchmarks.evaluate_all_pairs [--faces 13233]

Embeddings are seeded unit vectors; the numbers of photos a person follow a power law as in LFW.
Each size runs in its own process, so that its peak memory is its own. Scoring pairs row by row is
timed on a part and extrapolated.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable

import numpy as np

from benchmarks import peak_mib
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.all_pairs import pair_intervals, scan_pairs
from faceops.evaluation.protocols.identification import closed_set, open_set
from faceops.evaluation.protocols.verification import one_against_ten, random_pairs
from faceops.verification.verifier import Verifier

FARS = [1e-2, 1e-3, 1e-4]
SIZE = 128
PART, STEP = 1_000_000, 1 << 15  # pairs scored row by row


def simulated(faces: int) -> EmbeddedFaces:
    """Return `faces` photos; two people in three have one photo, few have very many."""
    draw = np.random.default_rng(0)
    photos = np.minimum(draw.zipf(2.2, faces), 500)
    person = np.repeat(np.arange(faces), photos)[:faces]
    centres = draw.normal(size=(person[-1] + 1, SIZE))
    rows = centres[person] + 0.7 * draw.normal(size=(faces, SIZE))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return EmbeddedFaces(rows, person.astype(str), person.astype(str))


def measure(faces: int) -> dict[str, float]:
    """Return the seconds of each part, the memory on top of the faces (MiB), and counts."""
    table = simulated(faces)
    verifier = Verifier(np.full(SIZE, -12, np.float32), 9.0, "distance")
    before = peak_mib()
    result: dict[str, float] = {"faces": len(table), "people": table.people}

    def timed(name: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        done = work()
        result[name] = time.perf_counter() - start
        return done

    scan = timed("all pairs", lambda: scan_pairs(table, verifier, FARS))
    pairs = scan.roc.impostors + len(scan.roc.genuine)  # type: ignore[attr-defined]
    timed("intervals", lambda: pair_intervals(scan, FARS, 7))  # type: ignore[arg-type]
    timed("closed set", lambda: closed_set(table, verifier))
    timed("one against ten", lambda: one_against_ten(table, verifier))
    timed("random pairs", lambda: random_pairs(table, verifier, 6000, 7).figures(FARS, None, 7))
    timed("open set", lambda: open_set(table, verifier, None, gallery_photos=1,
                                       unknown_share=0.5, seed=7, draws=1))  # fmt: skip
    result |= {"peak MiB": peak_mib() - before, "pairs": pairs}
    first, second = np.random.default_rng(0).integers(0, len(table), (2, PART))
    start = time.perf_counter()
    for at in range(0, PART, STEP):
        part = slice(at, at + STEP)
        verifier.logit(table.embeddings[first[part]], table.embeddings[second[part]])
    result["row by row"] = (time.perf_counter() - start) / PART * pairs
    result["row by row over all pairs"] = result["row by row"] / result["all pairs"]
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=int, default=13_233)
    faces = parser.parse_args().faces
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        once, double = (pool.apply(measure, (number,)) for number in (faces, 2 * faces))
    print("| | N | 2N | ratio |\n| --- | ---: | ---: | ---: |")
    for name, value in once.items():
        form = ",.0f" if value >= 1000 else ".3g"
        print(f"| {name} | {value:{form}} | {double[name]:{form}} | {double[name] / value:.2f} |")


if __name__ == "__main__":
    main()
