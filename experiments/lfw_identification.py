"""Name people in real photos: LFW people the release was neither trained nor calibrated on.

    python -m experiments.lfw_identification --data data --bundle build/export --out OUT

Test people of the last pipeline run: 50 with five or more photos are enrolled from their first
two; the album is their other photos and one photo each of 300 others, the strangers. LFW labels one
person a photo: any other name counts as wrong, also on a bystander.
"""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

from experiments import parser


def choose(
    split: Path, people: int, strangers: int, seed: int = 7
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the photos of each person to enrol, and one photo of each stranger.

    `split` is the table of faces that the stage `split` wrote; only its test people are used.
    """
    photos: dict[str, list[str]] = {}
    for face in pq.read_table(split, columns=["person", "path", "split"]).to_pylist():
        if face["split"] == "test":
            photos.setdefault(face["person"], []).append(face["path"])
    draw = Random(seed)
    able = sorted(person for person, paths in photos.items() if len(paths) >= 5)
    if len(able) < people or len(photos) - people < strangers:
        sys.exit(
            f"{split} has {len(photos)} test people, {len(able)} with five photos; {people} of"
            f" those and {strangers} others are needed."
        )
    known = {person: sorted(photos[person]) for person in sorted(draw.sample(able, people))}
    others = sorted(set(photos) - set(known))
    return known, [min(photos[person]) for person in sorted(draw.sample(others, strangers))]


def lay_out(known: dict[str, list[str]], strangers: list[str], data: Path, out: Path) -> None:
    """Copy two photos of each known person to `out`/people, the other photos to `out`/album."""
    if out.exists():
        sys.exit(f"{out} exists; name another folder with --out.")
    copies = {path: Path("album/strangers") for path in strangers}
    for person, paths in known.items():
        copies |= {path: Path("people") / person for path in paths[:2]}
        copies |= {path: Path("album/known") / person for path in paths[2:]}
    for path, folder in copies.items():
        (out / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / path, out / folder / Path(path).name)


def score(faces_csv: Path) -> dict[str, int]:
    """Count photos by the names given in them."""
    names: dict[str, set[str]] = {}
    with faces_csv.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            named = names.setdefault(row["photo_path"], set())
            if row["person"]:
                named.add(row["person"].replace(" ", "_"))
    counts = dict.fromkeys(("known", "correct", "wrong_names", "strangers", "strangers_named"), 0)
    for photo, named in names.items():
        if "known" in Path(photo).parts:
            person = Path(photo).parts[-2]
            counts["known"] += 1
            counts["correct"] += person in named
            counts["wrong_names"] += len(named - {person})
        else:
            counts["strangers"] += 1
            counts["strangers_named"] += bool(named)
    return counts


def main() -> None:
    """Copy the photos, enrol, identify, print the counts."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, default=Path("data"))
    options.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    options.add_argument("--bundle", default="build/export")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--people", type=int, default=50)
    options.add_argument("--strangers", type=int, default=300)
    options.add_argument("--budget", default="0.01")
    args = options.parse_args()
    lay_out(*choose(args.split, args.people, args.strangers), args.data, args.out)
    faceops = [sys.executable, "-m", "faceops.cli"]
    release = ["--gallery", str(args.out / "gallery"), "--bundle", args.bundle]
    subprocess.run([*faceops, "enrol", str(args.out / "people"), *release], check=True)
    command = [*faceops, "identify", str(args.out / "album"), *release]
    command += ["--out", str(args.out / "found"), "--budget", args.budget]
    subprocess.run(command, check=True)
    print(json.dumps(score(args.out / "found/faces.csv"), indent=2))


if __name__ == "__main__":
    main()
