"""`faceops identify` against the command `face_recognition` (dlib): same people, same photos.

python -m benchmarks.identify_against_face_recognition --peer PEER/bin/face_recognition \
    --bundle build/export --data data --out OUT

Both know 50 people whom the release has not seen, from two photos each, and are given these
people's other photos and one photo of each of 1,000 strangers; then a part of them again, enlarged
to 12 megapixels. Install the peer into an environment of its own:
`pip install "setuptools<81" dlib-bin Pillow numpy Click && pip install --no-deps face_recognition
face_recognition_models`.

The peer prints every name within its tolerance: a photo is right when the labelled name is among
them, and every other name counts as wrong. `nearest` counts, kindly, a photo's nearest name alone.
Seconds are of whole commands; ours are `enrol` and `identify` together, since the peer learns the
known people in each run. Peak memory is that of the largest process.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow.parquet as pq
from PIL import Image

from benchmarks.as_a_user import as_a_user
from experiments.lfw_identification import choose, lay_out
from faceops.base.cpus import usable_cpus

SIDE = 3464  # of a square photo of 12 megapixels
TOLERANCES = (0.6, 0.55, 0.5, 0.45, 0.4)


class Score(NamedTuple):
    """How many of the photos got the right name, how many wrong names, strangers with a name."""

    known: int
    correct: int
    wrong_names: int
    strangers: int
    strangers_named: int


class Timed(NamedTuple):
    """What a command took."""

    seconds: float
    peak_mib: float
    output: str


def timed(command: list[str]) -> Timed:
    """Run a command; end if it fails."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=as_a_user())
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed with status {status}")
    return Timed(time.monotonic() - started, usage.ru_maxrss / 1024, output)


def score(album: Path, names: dict[str, set[str]]) -> Score:
    """Compare the names given to each photo, by its path below `album`, with its label."""
    known = correct = wrong = strangers = named = 0
    for photo in sorted(album.iterdir()):
        given = names.get(photo.name, set())
        kind, person = photo.stem.split("__")[:2]
        if kind == "known":
            known += 1
            correct += person in given
            wrong += len(given - {person})
        else:
            strangers += 1
            named += bool(given)
    return Score(known, correct, wrong, strangers, named)


def flatten(laid_out: Path, folder: Path, part: int | None, side: int | None) -> tuple[Path, Path]:
    """Put the photos into the two flat folders that the peer reads; enlarge to `side` if given."""
    people, album = folder / "people", folder / "album"
    people.mkdir(parents=True)
    album.mkdir()
    for path in sorted((laid_out / "people").glob("*/*")):
        put(path, people / f"{path.parent.name}__{path.stem[-4:]}.jpg", side)
    for kind in ("known", "strangers"):
        photos = sorted(path for path in (laid_out / "album" / kind).rglob("*.jpg"))
        if part is not None:
            photos = sorted(Random(0).sample(photos, part // 2))
        for path in photos:
            person = path.stem.rsplit("_", 1)[0]
            put(path, album / f"{kind}__{person}__{path.stem[-4:]}.jpg", side)
    return people, album


def put(source: Path, target: Path, side: int | None) -> None:
    """Copy a photo, or enlarge it."""
    if side is None:
        shutil.copyfile(source, target)
        return
    with Image.open(source) as image:
        image.resize((side, side), Image.Resampling.LANCZOS).save(target, quality=90)


def run_ours(
    people: Path, album: Path, folder: Path, bundle: str, budget: str
) -> tuple[Score, float, float]:
    """Enrol and identify; return the score, seconds and peak MiB."""
    folder.mkdir()
    by_name = folder / "people"
    for path in people.iterdir():
        person = by_name / path.name.split("__")[0]
        person.mkdir(parents=True, exist_ok=True)
        (person / path.name).symlink_to(path.resolve())
    faceops = [sys.executable, "-m", "faceops.cli"]
    common = ["--gallery", str(folder / "gallery"), "--bundle", bundle]
    enrolled = timed([*faceops, "enrol", str(by_name), *common])
    out = folder / "found"
    command = [*faceops, "identify", str(album), "--out", str(out), "--budget", budget, *common]
    named = timed(command)
    names: dict[str, set[str]] = defaultdict(set)
    with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["person"]:
                names[row["photo_path"]].add(row["person"].replace(" ", "_"))
    seconds = enrolled.seconds + named.seconds
    return score(album, names), seconds, max(enrolled.peak_mib, named.peak_mib)


def run_peer(
    peer: str, people: Path, album: Path, cpus: int
) -> tuple[list[tuple[str, str, float]], float, float]:
    """Run the peer; return photo, name and distance of each match, seconds and peak MiB."""
    options = ["--cpus", str(cpus), "--show-distance", "true"]
    done = timed([peer, str(people), str(album), *options])
    matches = []
    for line in done.output.splitlines():
        parts = line.rsplit(",", 2)
        if len(parts) == 3 and parts[2] != "None":
            matches.append((Path(parts[0]).name, parts[1].split("__")[0], float(parts[2])))
    return matches, done.seconds, done.peak_mib


def within(
    matches: Iterable[tuple[str, str, float]], tolerance: float, nearest: bool
) -> dict[str, set[str]]:
    """Return the names of each photo that the peer gives at a tolerance."""
    names: dict[str, set[str]] = defaultdict(set)
    for photo, name, distance in sorted(matches, key=lambda match: match[2]):
        if distance <= tolerance and not (nearest and names[photo]):
            names[photo].add(name)
    return names


def line(what: str, result: Score, seconds: float | None, peak: float | None) -> str:
    """Return a row of the table."""
    photos = result.known + result.strangers
    speed = f"{photos / seconds:9.1f} {seconds:8.1f} {peak:8.0f}" if seconds else " " * 27
    return (
        f"{what:<34} {result.correct:>4}/{result.known:<4} {result.wrong_names:>6} "
        f"{result.strangers_named:>5}/{result.strangers:<5} {speed}"
    )


def compare(people: Path, album: Path, folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Run both on one set of photos, print the table, return the figures."""
    head = f"{'':<34} {'correct':>9} {'wrong':>6} {'strangers':>11} {'photos/s':>9} {'s':>8} MiB"
    print(head, flush=True)
    figures: dict[str, object] = {}
    ours: list[float] = []
    for budget in args.budget:
        result, seconds, peak = run_ours(
            people, album, folder / f"ours_{budget}", args.bundle, budget
        )
        ours.append(seconds)
        figures[f"faceops, budget {budget}"] = {**result._asdict(), "s": seconds, "mib": peak}
        print(line(f"faceops, budget {budget}", result, seconds, peak), flush=True)
    for cpus in args.cpus:
        matches, seconds, peak = run_peer(args.peer, people, album, cpus)
        for tolerance in TOLERANCES:
            for nearest in (False, True):
                what = f"peer, {cpus} cpu, {tolerance}{', nearest' if nearest else ''}"
                result = score(album, within(matches, tolerance, nearest))
                first = tolerance == TOLERANCES[0] and not nearest
                if first or cpus == args.cpus[-1]:
                    figures[what] = {**result._asdict(), "s": seconds, "mib": peak}
                    shown = (seconds, peak) if first else (None, None)
                    print(line(what, result, *shown), flush=True)
        ratio = seconds / statistics.median(ours)
        figures[f"peer with {cpus} cpu against faceops, times"] = ratio
        print(f"faceops takes 1/{ratio:.1f} of the time of the peer with {cpus} cpu", flush=True)
    return figures


def main() -> None:
    """Lay the photos out and compare both, small and enlarged."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, metavar="COMMAND")
    parser.add_argument("--bundle", default="build/export")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--strangers", type=int, default=1000)
    parser.add_argument("--large", type=int, default=200, help="photos to enlarge; 0 for none")
    parser.add_argument("--budget", nargs="+", default=["0.01", "0.001"])
    parser.add_argument("--cpus", type=int, nargs="+", default=[1, usable_cpus()])
    args = parser.parse_args()
    faces = pq.read_table(args.split, columns=["person", "path", "split"]).to_pylist()
    lay_out(*choose(faces, args.people, args.strangers, 7), args.data, args.out)
    figures: dict[str, object] = {}
    for name, part, side in (("as_they_are", None, None), ("12_megapixels", args.large, SIDE)):
        if part == 0:
            continue
        people, album = flatten(args.out, args.out / name, part, side)
        print(f"\n{name}: {len(list(album.iterdir()))} photos", flush=True)
        figures[name] = compare(people, album, args.out / name, args)
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
