"""Global mining against the loop that sorts all distances of each anchor; and a million faces.

Usage: python -m benchmarks.global_mining [--faces 33000] [--million 1000000] [--json FILE]

The embeddings are seeded unit vectors of people with as many photos as LFW's have. All faces are
anchors. The loop is timed on a sample of them and counted up, in two ways of taking distances:
by differences, and by one matrix-vector product. In every repeat the loops and the mining take
turns, so that what else the machine does meets them alike; where other work shares the cores, the
processor's time tells more than the clock's. The negatives of the sample must be the same, in the
same order, except for strangers whose distances differ by less than float32 can tell. The large
bank is mined for some anchors in a process of its own.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from faceops.embedding.mining.global_negatives import nearest_negatives

NEAREST, SKIP = 10, 5
TOLERANCE = 1e-6  # of squared distances in float32

Found = TypeVar("Found")
Loop = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def faces_of_people(faces: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a bank, float32 (N, D), and labels, int64 (N,)."""
    draw = np.random.default_rng(0)
    photos = np.minimum(draw.zipf(2.2, faces), 500)
    labels = np.repeat(np.arange(faces), photos)[:faces]
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(faces, size, generator=generator).mul_(0.7)
    bank += torch.randn(labels[-1] + 1, size, generator=generator)[torch.from_numpy(labels)]
    return torch.nn.functional.normalize(bank, dim=1), torch.from_numpy(labels)


def by_differences(bank: np.ndarray, labels: np.ndarray, anchor: int) -> np.ndarray:
    """Return the anchor's negatives by sorting the squared L2 distances to all faces."""
    order = np.argsort(((bank - bank[anchor]) ** 2).sum(axis=1))
    return order[labels[order] != labels[anchor]][SKIP : SKIP + NEAREST]


def by_products(bank: np.ndarray, labels: np.ndarray, anchor: int) -> np.ndarray:
    """Return the same from 2 - 2 cos."""
    order = np.argsort(2 - 2 * (bank @ bank[anchor]))
    return order[labels[order] != labels[anchor]][SKIP : SKIP + NEAREST]


MINING = "global mining"
LOOPS: dict[str, Loop] = {
    "loop, distances by differences": by_differences,
    "loop, distances by products": by_products,
}


def check_same(bank: np.ndarray, anchor: int, ours: np.ndarray, theirs: np.ndarray) -> int:
    """Return how many places differ; end if one does by more than rounding."""
    exact = bank.astype(np.float64)
    far = [((exact[rows] - exact[anchor]) ** 2).sum(axis=1) for rows in (ours, theirs)]
    if np.abs(far[0] - far[1]).max() > TOLERANCE:
        raise SystemExit(f"the negatives of face {anchor} are not those of the loop")
    return int((ours != theirs).sum())


def timed(work: Callable[[], Found]) -> tuple[Found, np.ndarray]:
    """Return what `work` gives, and the seconds of the clock and of the processors."""
    clock, processors = time.perf_counter(), time.process_time()
    result = work()
    return result, np.array([time.perf_counter() - clock, time.process_time() - processors])


def compare(faces: int, size: int, sample: int, repeats: int) -> dict[str, Any]:
    """Time the loops on `sample` anchors and the mining on all; compare what they find."""
    bank, labels = faces_of_people(faces, size)
    rows, people, anchors = bank.numpy(), labels.numpy(), torch.arange(faces)
    chosen = np.random.default_rng(1).choice(faces, sample, replace=False)
    nearest_negatives(bank, labels, anchors[:1000], NEAREST, SKIP)  # the first run allocates
    seconds: dict[str, list[np.ndarray]] = {MINING: [], **{name: [] for name in LOOPS}}
    swapped = 0
    for part in np.array_split(chosen, repeats):
        mined, took = timed(lambda: nearest_negatives(bank, labels, anchors, NEAREST, SKIP))
        seconds[MINING].append(took)
        for name, loop in LOOPS.items():
            found, took = timed(partial(_loop, loop, rows, people, part))
            seconds[name].append(took * faces / len(part))
            for anchor, theirs in zip(part, found, strict=True):
                swapped += check_same(rows, int(anchor), mined[anchor].numpy(), theirs)
    times = {name: np.array(values) for name, values in seconds.items()}  # (repeats, 2)
    return {
        "faces": faces,
        "size": size,
        "sample": sample,
        "swapped_within_rounding": swapped,
        "seconds": {name: np.median(values, axis=0).tolist() for name, values in times.items()},
        "ratio": {
            name: np.quantile(values / times[MINING], (0.5, 0, 1), axis=0).T.tolist()
            for name, values in times.items()
        },
    }


def _loop(loop: Loop, rows: np.ndarray, people: np.ndarray, part: np.ndarray) -> list[np.ndarray]:
    return [loop(rows, people, int(anchor)) for anchor in part]


def mine_many(faces: int, size: int, anchors: int) -> dict[str, float]:
    """Mine a large bank for some anchors; return seconds and peak memory, in a fresh process."""
    bank, labels = faces_of_people(faces, size)
    chosen = torch.from_numpy(np.random.default_rng(1).choice(faces, anchors, replace=False))
    before = peak_mib()
    began = time.perf_counter()
    nearest_negatives(bank, labels, chosen, NEAREST, SKIP)
    return {
        "seconds": time.perf_counter() - began,
        "bank_mib": bank.numel() * 4 / 2**20,
        "before_mib": before,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """Return the largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=33_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--sample", type=int, default=1_000, help="anchors that the loops do")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million", type=int, default=1_000_000, help="faces of the large bank")
    parser.add_argument("--million-size", type=int, default=128)
    parser.add_argument("--million-anchors", type=int, default=4_096)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    print(
        f"{torch.get_num_threads()} threads; the {NEAREST} nearest strangers after the first"
        f" {SKIP}\n"
    )
    small = compare(args.faces, args.size, args.sample, args.repeats)
    print(ratio_table(small), flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        large = pool.apply(mine_many, (args.million, args.million_size, args.million_anchors))
    print(large_table(large, args.million, args.million_size, args.million_anchors))
    if args.json:
        figures = {"threads": torch.get_num_threads(), "against_loop": small, "large": large}
        args.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")


def ratio_table(figures: dict[str, Any]) -> str:
    """Return the comparison with the loops as Markdown."""
    lines = [
        f"| {figures['faces']:,} x {figures['size']}, all are anchors | clock, s | processors, s |"
        " times mining by the clock, median (range) | by processors |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, seconds in figures["seconds"].items():
        ratios = [f"{r[0]:.0f} ({r[1]:.0f} to {r[2]:.0f})" for r in figures["ratio"][name]]
        cells = [name, *(f"{value:.1f}" for value in seconds), *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        f"\nThe loops are counted up from {figures['sample']:,} anchors, whose negatives are the"
        f" same; {figures['swapped_within_rounding']} places differ by strangers as near to"
        f" within {TOLERANCE:g}.\n"
    )
    return "\n".join(lines)


def large_table(large: dict[str, float], faces: int, size: int, anchors: int) -> str:
    """Return time and memory of the large bank as Markdown."""
    per_anchor = large["seconds"] / anchors
    return "\n".join(
        [
            f"| {faces:,} x {size} | |",
            "| --- | ---: |",
            f"| {anchors:,} anchors | {large['seconds']:.1f} s |",
            f"| all anchors, counted up | {per_anchor * faces / 60:.0f} min |",
            f"| the bank itself | {large['bank_mib']:.0f} MiB |",
            f"| peak memory of the process before mining | {large['before_mib']:.0f} MiB |",
            f"| peak memory with mining | {large['peak_mib']:.0f} MiB |",
        ]
    )


if __name__ == "__main__":
    main()
