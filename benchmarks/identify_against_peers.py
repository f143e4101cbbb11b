"""`faceops identify` compared with `face_recognition` (dlib) and deepface's `find`.

    python -m benchmarks.identify_against_peers --root . --out OUT
        [--face-recognition PEER/bin/face_recognition] [--deepface PEER/bin/python]

All get two photos each of 50 test people, their other photos and one photo each of 1,000
strangers: once all of these (`all`), in turns a part of them (`some`), and a part enlarged to 12
megapixels (`large`). `--root` is where `dvc repro` ran with LFW. Each peer gets its own
environment: `pip install "setuptools<81" dlib-bin Pillow numpy Click && pip install --no-deps
face_recognition face_recognition_models`; `pip install deepface werkzeug
"opencv-contrib-python-headless<5"`, and the weights of its models, SFace's and YuNet's from
`faceops weights fetch`, in $DEEPFACE_HOME/.deepface/weights.

A peer gives every name within its tolerance: a photo is correct if the labelled name is among
them, every other name is wrong. Two more rows are of the same run: the nearest name of a photo
alone, and the tolerance, found on these very photos, at which it names no more strangers than
faceops. Time is of whole commands, ours of `enrol` and `identify` together, and of all photos,
as the peers encode the known people too. On busy cores only CPU time counts.
"""

import csv
import os
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow.parquet as pq
from PIL import Image

from benchmarks import FACEOPS, Timed, timed
from experiments import parser
from faceops.base.work import usable_cpus
from faceops.release.export import assemble

SIDE = 3464  # of a square photo of 12 megapixels
DEEPFACE_FIND = """
import sys
from pathlib import Path
from deepface import DeepFace
from deepface.modules.exceptions import FaceNotDetected

people, album, model, detector = sys.argv[1:]
for photo in sorted(Path(album).iterdir()):
    try:
        faces = DeepFace.find(str(photo), people, model, detector_backend=detector, silent=True)
    except FaceNotDetected:
        continue
    for face in faces:
        for identity, distance in zip(face["identity"], face["distance"]):
            print(photo, Path(identity).name, distance, sep=",")
"""


class Match(NamedTuple):
    """A name given to a photo, by faceops at distance 0."""

    distance: float
    photo: str
    person: str


class Run(NamedTuple):
    """What a tool found; CPU seconds, wall seconds and peak MiB of its commands."""

    matches: list[Match]
    cost: tuple[float, float, float]


Tool = Callable[[Path, Path], Run]  # folder of the photos, new folder of its own -> run


def score(album: Path, matches: Iterable[Match]) -> tuple[str, int]:
    """Compare names with labels; return cells of the table, and how many strangers are named."""
    names: dict[str, set[str]] = defaultdict(set)
    for match in matches:
        names[match.photo].add(match.person)
    photos = [(*path.stem.split("__"), path.name) for path in album.iterdir()]
    given = [(who, names[name]) for kind, who, _, name in photos if kind == "known"]
    known = [(who in got, len(got - {who})) for who, got in given]
    named = [name in names for kind, *_, name in photos if kind == "stranger"]
    right, wrong = (sum(each) for each in zip(*known, strict=True))
    return f"{right} of {len(known)} | {wrong} | {sum(named)} of {len(named)}", sum(named)


def nearest(matches: list[Match]) -> list[Match]:
    """Return the nearest name of each photo."""
    return list({match.photo: match for match in sorted(matches, reverse=True)}.values())


def naming_fewer(matches: list[Match], strangers: int) -> tuple[float, list[Match]]:
    """Return the tolerance that names at most so many `strangers`, and the names within it."""
    closest = sorted(m.distance for m in nearest(matches) if m.photo.startswith("stranger"))
    limit = closest[strangers] if len(closest) > strangers else float("inf")
    within = [match for match in matches if match.distance < limit]
    return max(within, default=Match(0, "", ""))[0], within


def choose(split: Path, people: int, strangers: int) -> tuple[dict[str, list[str]], list[str]]:
    """Return the photos of each known person, and one photo of each stranger.

    `split` is the table of faces that the stage `split` wrote; only its test people are used.
    """
    photos: dict[str, list[str]] = defaultdict(list)
    for face in pq.read_table(split, columns=["person", "path", "split"]).to_pylist():
        if face["split"] == "test":
            photos[face["person"]].append(face["path"])
    draw = Random(7)
    able = sorted(person for person, paths in photos.items() if len(paths) >= 5)
    if len(able) < people or len(photos) - people < strangers:
        sys.exit(f"{split} has too few test people: {people} with five photos, {strangers} others.")
    known = {person: sorted(photos[person]) for person in sorted(draw.sample(able, people))}
    others = sorted(set(photos) - set(known))
    return known, [min(photos[person]) for person in sorted(draw.sample(others, strangers))]


def copy_photos(root: Path, folder: Path, photos: int | None, *, enlarge: bool) -> None:
    """Copy people and album to two flat folders, all or so many `photos`, half of strangers."""
    known, others = choose(root / "build/split/faces.parquet", 50, 1000)
    names = (
        sorted(known) if photos is None else Random(0).sample(sorted(known), min(50, photos // 4))
    )
    asked = [(f"known__{name}", path) for name in names for path in known[name][2:]]
    unknown = [(f"stranger__{Path(path).parent.name}", path) for path in others]
    if photos is not None:
        asked, unknown = (Random(0).sample(each, photos // 2) for each in (asked, unknown))
    enrolled = [(name, path) for name in names for path in known[name][:2]]
    for part, chosen in (("people", enrolled), ("album", asked + unknown)):
        (folder / part).mkdir(parents=True)
        for name, path in chosen:
            target = folder / part / f"{name}__{path[-8:]}"
            if not enlarge:
                shutil.copyfile(root / "data" / path, target)
                continue
            with Image.open(root / "data" / path) as image:
                image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(target, quality=90)


def cost(*runs: Timed) -> tuple[float, float, float]:
    """Return CPU seconds, wall seconds and peak MiB of commands."""
    cpu, wall = (sum(getattr(run, what) for run in runs) for what in ("cpu_seconds", "seconds"))
    return cpu, wall, max(run.peak_mib for run in runs)


def faceops(*release: str | Path) -> Tool:
    """Enrol and identify with a release."""

    def run(folder: Path, own: Path) -> Run:
        for path in (folder / "people").iterdir():
            person = own / "people" / path.name.split("__")[0]
            person.mkdir(parents=True, exist_ok=True)
            (person / path.name).symlink_to(path.resolve())
        options = ("--gallery", own / "gallery", *release)
        runs = [timed(*FACEOPS, "enrol", own / "people", *options)]
        options += ("--out", own / "found")
        runs.append(timed(*FACEOPS, "identify", folder / "album", *options))
        with (own / "found/faces.csv").open(newline="", encoding="utf-8") as file:
            rows = [(row["photo_path"], row["person"]) for row in csv.DictReader(file)]
        matches = [Match(0, photo, name.replace(" ", "_")) for photo, name in rows if name]
        return Run(matches, cost(*runs))

    return run


def peer(before: tuple[str, ...], after: tuple[str, ...]) -> Tool:
    """Run a command on people and album; it prints photo, known photo or name, distance."""

    def run(folder: Path, own: Path) -> Run:
        shutil.copytree(folder / "people", own)  # where deepface keeps its embeddings
        done = timed(*before, own, folder / "album", *after)
        lines = (line for line in done.output.splitlines() if str(folder / "album") in line)
        rows = [row for line in lines if len(row := line.rsplit(",", 2)) == 3 and row[2] != "None"]
        matches = [Match(float(at), Path(path).name, who.split("__")[0]) for path, who, at in rows]
        return Run(matches, cost(done))

    return run


def compare(folder: Path, tools: dict[str, Tool], repeats: int) -> None:
    """Run the tools on one set of photos in turns and print the tables."""
    album, runs = folder / "album", defaultdict[str, list[Run]](list)
    photos, people = (len(list((folder / part).iterdir())) for part in ("album", "people"))
    print(f"\n{folder.name}: {photos} photos, {people} of known people, {repeats} runs\n")
    for repeat, (name, tool) in product(range(repeats), tools.items()):
        runs[name].append(tool(folder, folder / f"{name.replace(' ', '_')}_{repeat}"))
    print("| | correct | wrong names | strangers named | CPU ms a photo | wall ms | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    ours = [name for name in tools if name.startswith("faceops")]
    fewest = min(score(album, runs[name][0].matches)[1] for name in ours)
    for name, of_it in runs.items():
        medians = [statistics.median(each) for each in zip(*(r.cost for r in of_it), strict=True)]
        cpu, wall = (1000 * seconds / (photos + people) for seconds in medians[:2])
        matches, costs = of_it[0].matches, f"{cpu:.1f} | {wall:.1f} | {medians[2]:.0f}"
        print(f"| {name} | {score(album, matches)[0]} | {costs} |")
        if name not in ours:
            tolerance, within = naming_fewer(matches, fewest)
            print(f"| {name}, nearest name | {score(album, nearest(matches))[0]} | | | |")
            print(f"| {name}, within {tolerance:.3f} | {score(album, within)[0]} | | | |")
    print("\n| times as long as | CPU | wall |\n| --- | --- | --- |")
    for mine, name in product(ours, (name for name in tools if name not in ours)):
        pairs = [(a.cost, b.cost) for a, b in zip(runs[name], runs[mine], strict=True)]
        cpu, wall = (statistics.median(a[at] / b[at] for a, b in pairs) for at in (0, 1))
        print(f"| {name} over {mine} | {cpu:.1f} | {wall:.1f} |")
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"\nload of the last 1, 5, 15 minutes: {load}; {usable_cpus()} cores", flush=True)


def main() -> None:
    """Copy the photos and compare on all, on some in turns, and on enlarged ones."""
    options = parser(__doc__)
    options.add_argument("--root", type=Path, default=Path(), help="where `dvc repro` ran")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--sets", nargs="+", default=["all", "some", "large"])
    options.add_argument("--face-recognition", metavar="COMMAND")
    options.add_argument("--deepface", metavar="PYTHON")
    models = ("SFace opencv", "SFace yunet")
    options.add_argument("--models", nargs="+", default=models, metavar="'MODEL DETECTOR'")
    options.add_argument("--photos", type=int, default=200, help="of the sets some and large")
    options.add_argument("--repeats", type=int, default=3, help="of the sets some and large")
    args = options.parse_args()
    if args.out.exists():
        options.error(f"{args.out} exists; name another folder with --out.")
    bundle = assemble(args.root, args.out / "bundle")
    tools = {
        "faceops": faceops("--model", "published"),
        "faceops int8": faceops("--bundle", bundle, "--precision", "int8"),
    }
    if args.face_recognition:
        tools["face_recognition"] = peer((args.face_recognition,), ("--show-distance", "true"))
    for model in args.models if args.deepface else ():
        command = (args.deepface, "-c", DEEPFACE_FIND)
        tools[f"deepface {model}"] = peer(command, tuple(model.split()))
    for name in args.sets:
        photos = None if name == "all" else args.photos
        copy_photos(args.root, args.out / name, photos, enlarge=name == "large")
        compare(args.out / name, tools, 1 if photos is None else args.repeats)


if __name__ == "__main__":
    main()
