"""What a second `faceops identify` costs, as a ratio to the first run over the same folder.

python -m benchmarks.identify_again --data data --bundle build/export --out OUT [--photos 13233]

The first run; then nothing changed; then one more person enrolled; then 1 % of the photos changed
(their bytes and times). Each is a command of its own, timed as a whole, the last three several
times (medians): `engine` is the run alone, by its summary, without the start of Python and the
loading of the models.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

from benchmarks.as_a_user import as_a_user
from experiments.lfw_identification import choose

FACEOPS = [sys.executable, "-m", "faceops.cli"]


def run(command: list[str]) -> float:
    """Return the seconds that a command takes; end if it fails."""
    began = time.monotonic()
    if subprocess.run(
        [*FACEOPS, *command], stdout=subprocess.DEVNULL, env=as_a_user(), check=False
    ).returncode:
        sys.exit(f"faceops {' '.join(command)} failed")
    return time.monotonic() - began


def main() -> None:
    """Lay out, run, change, run again; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    parser.add_argument("--bundle", default="build/export")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=13_233)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    if args.out.exists():
        sys.exit(f"{args.out} exists; name another folder with --out.")
    faces = pq.read_table(args.split, columns=["person", "path", "split"]).to_pylist()
    known, _ = choose(faces, args.people + args.times, 0, 7)
    enrolled = {path for paths in known.values() for path in paths[:2]}
    album = args.out / "album"
    album.mkdir(parents=True)
    for face in [face for face in faces if face["path"] not in enrolled][: args.photos]:
        shutil.copyfile(args.data / face["path"], album / Path(face["path"]).name)
    photos = sorted(album.iterdir())
    people, gallery, out = (str(args.out / name) for name in ("people", "gallery", "found"))
    later = sorted(known)[args.people :]

    def enrol(persons: list[str]) -> None:
        for person in persons:
            folder = args.out / "people" / person
            folder.mkdir(parents=True)
            for path in known[person][:2]:
                shutil.copyfile(args.data / path, folder / Path(path).name)
        run(["enrol", people, "--gallery", gallery, "--bundle", args.bundle])

    def change() -> None:
        for path in Random(time.monotonic_ns()).sample(photos, max(1, len(photos) // 100)):
            with path.open("ab") as file:
                file.write(os.urandom(8))

    def identify() -> tuple[float, float]:
        seconds = run(
            ["identify", str(album), "--gallery", gallery, "--out", out, "--bundle", args.bundle]
        )
        summary = json.loads((args.out / "found" / "summary.json").read_text("utf-8"))
        return seconds, seconds if summary["unchanged"] else summary["seconds"]

    enrol(sorted(known)[: args.people])
    first, engine = identify()
    print(f"{len(photos)} photos: first run {first:.1f} s, {len(photos) / first:.1f} photos/s")
    print(f"{'':<24} {'s':>7} {'times faster':>13} {'engine s':>9} {'times faster':>13}")
    changes: dict[str, Callable[[], None]] = {
        "nothing changed": lambda: None,
        "one person enrolled": lambda: enrol([later.pop()]),
        "1 % of photos changed": change,
    }
    for name, make in changes.items():
        walls, engines = [], []
        for _ in range(args.times):
            make()
            wall, inner = identify()
            walls.append(wall)
            engines.append(inner)
        wall, inner = statistics.median(walls), statistics.median(engines)
        shown = f"{inner:9.2f} {engine / inner:13.0f}" if inner < wall else ""
        print(f"{name:<24} {wall:7.2f} {first / wall:13.0f} {shown}", flush=True)


if __name__ == "__main__":
    main()
