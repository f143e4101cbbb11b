"""The identify flow on a Dask cluster of this machine, against its thread pool.

    python -m benchmarks.dask_overhead --lfw DIR --out OUT [--photos 5000] [--workers 2] [--times 3]

Whole commands over the same photos of LFW into new output folders, with the published release, in
alternating order; the Prefect server, the scheduler and the workers (one thread each) run already,
and have worked on photos before.
The medians, their ratio, and whether the rows are those of `faceops identify`.
"""

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks import timed
from benchmarks.cluster import MODEL, Cluster, choose, rows


def main() -> None:
    """Run all; print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dask_overhead")
    parser.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--shard-photos", type=int, default=512)
    args = parser.parse_args()
    out = args.out.resolve()
    seconds: dict[str, list[float]] = {"threads": [], "Dask": []}
    different = []
    album, expected = choose(args.lfw, args.photos, out)
    release = ("--gallery", str(out / "gallery"), *MODEL)
    with Cluster(out) as cluster:
        cluster.serve_prefect()
        address = cluster.serve_scheduler()
        cluster.add_workers(address, args.workers)
        dask = ("--dask", address, "--shared", str(out / "shared"))
        command = (sys.executable, "-m", "flows.identify")
        timed(
            *command, out / "people", *release, "--out", out / "warm", "--shard-photos", "32", *dask
        )
        flow = (*command, album, *release)
        for number in range(args.times):
            order = list(seconds) if number % 2 else list(seconds)[::-1]
            for name in order:
                found = out / f"{name}{number}"
                where = ("--out", found, "--shard-photos", str(args.shard_photos))
                where = (*where, *(dask if name == "Dask" else ()))
                seconds[name].append(timed(*flow, *where).seconds)
                print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
                if rows(found) != expected:
                    different.append(found.name)
    print("| way | seconds, median | photos/s |\n| --- | ---: | ---: |")
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {args.photos / median:.1f} |")
    print(f"Dask / threads, {args.workers} workers: {medians['Dask'] / medians['threads']:.3f}")
    print(f"rows that differ from `faceops identify`: {', '.join(different) or 'none'}")


if __name__ == "__main__":
    main()
