"""Name people in real photos: LFW people whom the release has not seen.

python experiments/lfw_identification.py --data data --out build/lfw_identification

Takes people of the test split of the last pipeline run (in no training and no calibration):
50 with five or more photos are enrolled from their first two; an album is made of their other
photos and of 300 photos of 300 other people; `faceops identify` names whom it can. A photo of LFW
is labelled with one person: any other name in it is counted as wrong, also on a bystander.
"""

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

MARK = ".lfw_identification"  # only a folder that holds it is ever emptied


def choose(
    faces: list[dict[str, str]], people: int, strangers: int, seed: int
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the photos of each person to know, and one photo of each stranger."""
    photos: dict[str, list[str]] = {}
    for face in faces:
        if face["split"] == "test":
            photos.setdefault(face["person"], []).append(face["path"])
    draw = Random(seed)
    able = sorted(person for person, paths in photos.items() if len(paths) >= 5)
    if len(able) < people:
        sys.exit(f"only {len(able)} test people have five photos; {people} were asked for.")
    known = {person: sorted(photos[person]) for person in sorted(draw.sample(able, people))}
    others = sorted(set(photos) - set(known))
    if len(others) < strangers:
        sys.exit(f"only {len(others)} test people are left for {strangers} strangers.")
    return known, [min(photos[person]) for person in sorted(draw.sample(others, strangers))]


def lay_out(known: dict[str, list[str]], strangers: list[str], data: Path, out: Path) -> None:
    """Copy the photos to `out`/people and `out`/album."""
    if out.exists() and not (out / MARK).is_file():
        sys.exit(f"{out} exists and is not of an earlier run; name another folder with --out.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARK).touch()
    for person, paths in known.items():
        for path in paths[:2]:
            target = out / "people" / person / Path(path).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / path, target)
        for path in paths[2:]:
            target = out / "album" / "known" / person / Path(path).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / path, target)
    for path in strangers:
        target = out / "album" / "strangers" / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / path, target)


def score(faces_csv: Path) -> dict[str, int]:
    """Count the album's photos by what was said of them."""
    names: dict[str, set[str]] = {}
    with faces_csv.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            named = names.setdefault(row["photo_path"], set())
            if row["person"]:
                named.add(row["person"].replace(" ", "_"))
    counts = dict.fromkeys(("known", "correct", "wrong_names", "strangers", "strangers_named"), 0)
    for photo, named in names.items():
        parts = Path(photo).parts
        if "known" in parts:
            person = parts[-2]
            counts["known"] += 1
            counts["correct"] += person in named
            counts["wrong_names"] += len(named - {person})
        else:
            counts["strangers"] += 1
            counts["strangers_named"] += bool(named)
    return counts


def main() -> None:
    """Lay the photos out, enrol, identify, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    parser.add_argument("--bundle", help="default: models:/faceops@champion")
    parser.add_argument("--out", type=Path, default=Path("build/lfw_identification"))
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--strangers", type=int, default=300)
    parser.add_argument("--budget", default="0.01")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    columns = ["person", "path", "split"]
    faces = pq.read_table(args.split, columns=columns).to_pylist()
    known, strangers = choose(faces, args.people, args.strangers, args.seed)
    lay_out(known, strangers, args.data, args.out)
    bundle = ["--bundle", args.bundle] if args.bundle else []
    gallery, found = str(args.out / "gallery"), args.out / "found"
    faceops = [sys.executable, "-m", "faceops.cli"]
    subprocess.run(
        [*faceops, "enrol", str(args.out / "people"), "--gallery", gallery, *bundle], check=True
    )
    command = [*faceops, "identify", str(args.out / "album"), "--gallery", gallery]
    command += ["--out", str(found), "--budget", args.budget, *bundle]
    started = time.monotonic()
    subprocess.run(command, check=True)
    seconds = time.monotonic() - started
    counts = score(found / "faces.csv")
    photos = counts["known"] + counts["strangers"]
    table = counts | {
        "budget": float(args.budget),
        "photos_per_second": round(photos / seconds, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
