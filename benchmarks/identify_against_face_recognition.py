"""`faceops identify` compared with the command `face_recognition` (dlib) on the same photos.

    python -m benchmarks.identify_against_face_recognition --peer PEER/bin/face_recognition \\
        --bundle build/export --data data --out OUT

Both get two photos each of 50 test people, their other photos, and one photo each of 1,000
strangers; then a part of these enlarged to 12 megapixels. Install the peer into its own
environment: `pip install "setuptools<81" dlib-bin Pillow numpy Click && pip install --no-deps
face_recognition face_recognition_models`.

The peer prints every name within its tolerance: a photo is correct if the labelled name is among
them, and every other name is wrong. `nearest` counts only the nearest name of a photo. Seconds are
of whole commands, ours of `enrol` and `identify` together, since the peer encodes the known people
in every run. Peak memory is that of the largest process.
"""

import argparse
import csv
import shutil
import statistics
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image

from benchmarks import FACEOPS, timed
from experiments.lfw_identification import choose, lay_out
from faceops.base.parallel import usable_cpus

SIDE = 3464  # of a square photo of 12 megapixels
TOLERANCES = (0.6, 0.55, 0.5, 0.45, 0.4)
Names = dict[str, set[str]]  # photo -> names given


class Score(NamedTuple):
    """Counts of photos and of names given to them."""

    known: int
    correct: int
    wrong_names: int
    strangers: int
    strangers_named: int


def score(album: Path, names: Names) -> Score:
    """Compare the names given to each photo with its label."""
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


def flatten(laid_out: Path, folder: Path, part: int | None) -> tuple[Path, Path]:
    """Copy the photos to the two flat folders that the peer reads; enlarge `part` of the album."""
    people, album = folder / "people", folder / "album"
    people.mkdir(parents=True)
    album.mkdir()

    def put(source: Path, target: Path) -> None:
        if part is None:
            shutil.copyfile(source, target)
            return
        with Image.open(source) as image:
            image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(target, quality=90)

    for path in sorted((laid_out / "people").glob("*/*")):
        put(path, people / f"{path.parent.name}__{path.stem[-4:]}.jpg")
    for kind in ("known", "strangers"):
        photos = sorted((laid_out / "album" / kind).rglob("*.jpg"))
        if part is not None:
            photos = sorted(Random(0).sample(photos, part // 2))
        for path in photos:
            person = path.stem.rsplit("_", 1)[0]
            put(path, album / f"{kind}__{person}__{path.stem[-4:]}.jpg")
    return people, album


def run_ours(folder: Path, bundle: str, budget: str) -> tuple[Names, float, float]:
    """Enrol and identify; return the names, seconds and peak MiB."""
    own = folder / f"faceops_{budget}"
    for path in (folder / "people").iterdir():
        person = own / "people" / path.name.split("__")[0]
        person.mkdir(parents=True, exist_ok=True)
        (person / path.name).symlink_to(path.resolve())
    release = ("--gallery", own / "gallery", "--bundle", bundle)
    enrolled = timed(*FACEOPS, "enrol", own / "people", *release)
    out = ("--out", own / "found", "--budget", budget)
    named = timed(*FACEOPS, "identify", folder / "album", *release, *out)
    names: Names = defaultdict(set)
    with (own / "found/faces.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["person"]:
                names[row["photo_path"]].add(row["person"].replace(" ", "_"))
    return names, enrolled.seconds + named.seconds, max(enrolled.peak_mib, named.peak_mib)


def within(output: str, tolerance: float, nearest: bool) -> Names:
    """Return the names that the peer's output gives at a tolerance."""
    matches = []
    for line in output.splitlines():
        parts = line.rsplit(",", 2)
        if len(parts) == 3 and parts[2] != "None":
            matches.append((float(parts[2]), Path(parts[0]).name, parts[1].split("__")[0]))
    names: Names = defaultdict(set)
    for distance, photo, name in sorted(matches):
        if distance <= tolerance and not (nearest and names[photo]):
            names[photo].add(name)
    return names


def row(what: str, result: Score, seconds: float | None = None, peak: float = 0) -> str:
    """Return a row of the table."""
    photos = result.known + result.strangers
    speed = f"{photos / seconds:.1f} | {seconds:.1f} | {peak:.0f}" if seconds else "| |"
    return (
        f"| {what} | {result.correct} of {result.known} | {result.wrong_names} |"
        f" {result.strangers_named} of {result.strangers} | {speed} |"
    )


def compare(folder: Path, args: argparse.Namespace) -> None:
    """Run both on one set of photos and print the table."""
    album = folder / "album"
    print(f"\n{folder.name}: {len(list(album.iterdir()))} photos\n")
    print("| | correct | wrong names | strangers named | photos/s | s | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    ours, ratios = [], []
    for budget in args.budget:
        names, seconds, peak = run_ours(folder, args.bundle, budget)
        ours.append(seconds)
        print(row(f"faceops, budget {budget}", score(album, names), seconds, peak), flush=True)
    for cpus in args.cpus:
        options = ("--cpus", str(cpus), "--show-distance", "true")
        run = timed(args.peer, folder / "people", album, *options)
        first = score(album, within(run.output, TOLERANCES[0], False))
        print(row(f"peer, {cpus} processes", first, run.seconds, run.peak_mib), flush=True)
        ratios.append(f"{run.seconds / statistics.median(ours):.1f} with {cpus} processes")
    for tolerance in TOLERANCES:
        for nearest in (False, True):
            what = f"peer, tolerance {tolerance}{', nearest' * nearest}"
            print(row(what, score(album, within(run.output, tolerance, nearest))))
    print(f"\ntime of the peer over that of faceops: {', '.join(ratios)}", flush=True)


def main() -> None:
    """Copy the photos and compare both, small and enlarged."""
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
    lay_out(*choose(args.split, args.people, args.strangers), args.data, args.out)
    for name, part in (("as_they_are", None), ("12_megapixels", args.large)):
        if part != 0:
            flatten(args.out, args.out / name, part)
            compare(args.out / name, args)


if __name__ == "__main__":
    main()
