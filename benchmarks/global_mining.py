"""Global mining compared with a loop that sorts all distances of each anchor; and a million faces.

    python -m benchmarks.global_mining [--faces 33000] [--million 1000000]

Embeddings are seeded unit vectors of people with as many photos as in LFW; all faces are anchors.
The loop is timed on a sample of them and extrapolated, with distances by differences and by
matrix-vector products. In every repeat loops and mining alternate, so that other load affects them
alike; on busy cores CPU time is the better measure. The negatives of the sample must be the same,
up to rounding in float32. The large bank is mined for some anchors in its own process.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from benchmarks import peak_mib
from faceops.base.parallel import usable_cpus
from faceops.embedding.global_mining import nearest_negatives

NEAREST, SKIP = 10, 5
CHECKED = 64  # anchors of the large bank
TOLERANCE = 1e-6  # of squared distances in float32
MINING = "global mining"

Result = TypeVar("Result")


def faces_of_people(faces: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a bank, float32 (N, D), and labels, int64 (N,)."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(faces), np.minimum(draw.zipf(2.2, faces), 500))[:faces]
    bank = 0.7 * draw.standard_normal((faces, size), np.float32)
    bank += draw.standard_normal((int(labels[-1]) + 1, size), np.float32)[labels]
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    return bank, labels


def by_differences(bank: np.ndarray, anchor: int) -> np.ndarray:
    """Return the squared L2 distances of the anchor to all faces."""
    distances: np.ndarray = ((bank - bank[anchor]) ** 2).sum(axis=1)
    return distances


def by_products(bank: np.ndarray, anchor: int) -> np.ndarray:
    """Return the same from 2 - 2 cos."""
    return 2 - 2 * (bank @ bank[anchor])


LOOPS = {"loop, differences": by_differences, "loop, products": by_products}


def loop(
    distances: Callable[[np.ndarray, int], np.ndarray],
    bank: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray,
) -> list[np.ndarray]:
    """Return the negatives of each anchor by sorting."""
    orders = [(int(anchor), np.argsort(distances(bank, int(anchor)))) for anchor in anchors]
    return [
        order[labels[order] != labels[anchor]][SKIP : SKIP + NEAREST] for anchor, order in orders
    ]


def check_same(bank: np.ndarray, anchor: int, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Exit if the negatives differ by more than rounding."""
    exact = bank[anchor].astype(np.float64)
    far = [((bank[rows] - exact) ** 2).sum(axis=1) for rows in (ours, theirs)]
    if np.abs(far[0] - far[1]).max() > TOLERANCE:
        raise SystemExit(f"the negatives of face {anchor} are not those of the loop")


def timed(work: Callable[[], Result]) -> tuple[Result, np.ndarray]:
    """Return the result of `work`, and its wall and CPU seconds, (2,)."""
    clock, processors = time.perf_counter(), time.process_time()
    result = work()
    return result, np.array([time.perf_counter() - clock, time.process_time() - processors])


def compare(faces: int, size: int, sample: int, repeats: int) -> str:
    """Time the loops on `sample` anchors and the mining on all; return a Markdown table."""
    bank, labels = faces_of_people(faces, size)
    anchors = np.arange(faces)
    chosen = np.random.default_rng(1).choice(faces, sample, replace=False)
    nearest_negatives(bank, labels, anchors[:1000], NEAREST, SKIP)  # the first run allocates
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in (MINING, *LOOPS)}
    for part in np.array_split(chosen, repeats):
        mined, taken = timed(lambda: nearest_negatives(bank, labels, anchors, NEAREST, SKIP))
        seconds[MINING].append(taken)
        for name, distances in LOOPS.items():
            found, taken = timed(partial(loop, distances, bank, labels, part))
            seconds[name].append(taken * faces / len(part))
            for anchor, theirs in zip(part, found, strict=True):
                check_same(bank, int(anchor), mined[anchor], theirs)
    lines = [
        f"| {faces:,} x {size} | wall s | CPU s | wall, times mining (range) | CPU |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, values in seconds.items():
        ratio = np.quantile(np.array(values) / np.array(seconds[MINING]), (0.5, 0, 1), axis=0).T
        shown = [f"{value:.1f}" for value in np.median(values, axis=0)]
        shown += [f"{r[0]:.0f} ({r[1]:.0f} to {r[2]:.0f})" for r in ratio]
        lines.append(f"| {' | '.join([name, *shown])} |")
    return "\n".join(lines)


def mine_many(faces: int, size: int, anchors: int) -> str:
    """Mine a large bank for some anchors; return seconds and peak memory in words."""
    bank, labels = faces_of_people(faces, size)
    chosen = np.random.default_rng(1).choice(faces, anchors, replace=False)
    found, taken = timed(lambda: nearest_negatives(bank, labels, chosen, NEAREST, SKIP))
    peak = peak_mib()
    checked = chosen[:CHECKED]
    theirs = loop(by_products, bank, labels, checked)
    for number, anchor in enumerate(checked.tolist()):
        check_same(bank, anchor, found[number], theirs[number])
    return (
        f"{faces:,} x {size}: {anchors:,} anchors in {taken[0]:.1f} s ({taken[1]:.1f} s of CPU),"
        f" all anchors extrapolated {taken[0] * faces / anchors / 60:.0f} min; peak memory"
        f" {peak:.0f} MiB, of which the bank {bank.nbytes / 2**20:.0f} MiB"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=int, default=33_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--sample", type=int, default=1_000, help="anchors of the loops")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million", type=int, default=1_000_000, help="faces of the large bank")
    parser.add_argument("--million-size", type=int, default=128)
    parser.add_argument("--million-anchors", type=int, default=4_096)
    args = parser.parse_args()
    print(f"{usable_cpus()} threads; the {NEAREST} nearest negatives after {SKIP}\n")
    print(compare(args.faces, args.size, args.sample, args.repeats), flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(mine_many, (args.million, args.million_size, args.million_anchors)))


if __name__ == "__main__":
    main()
