"""What later runs of `faceops identify` cost, and whether killed runs give the same rows.

    python -m benchmarks.identify_runs again --lfw LFW/lfw-deepfunneled --out OUT
    python -m benchmarks.identify_runs killed --lfw LFW/lfw-deepfunneled --out OUT

50 people of LFW are enrolled from two photos each, by the published release.

again: the first run over LFW's other photos; then nothing changed, one more person enrolled, and
1 % of the photos changed. Later runs are repeated; medians of whole commands.

killed: a large folder, made of altered photos of LFW so that no two files are equal. One run is
undisturbed; another gets SIGKILL at random moments and is started again. Rows must be equal.
"""

import argparse
import csv
import itertools
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

from PIL import Image, ImageEnhance, ImageOps

from benchmarks import FACEOPS, Timed, timed
from faceops.base.work import track

MARGIN = 0.18  # cut off each side of LFW's photos, so that one face is left
ENROLLED, OF_EACH = 50, 2  # people, photos
Enrolled = dict[str, list[Path]]


def able(lfw: Path) -> Enrolled:
    """Return the people with five photos or more, and the photos of each to enrol."""
    photos = {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted(lfw.iterdir())}
    return {name: some[:OF_EACH] for name, some in photos.items() if len(some) >= 5}


def enrol(some: Enrolled, out: Path) -> None:
    """Enrol people into `out`/gallery."""
    for name, photos in some.items():
        (out / "people" / name).mkdir(parents=True)
        for photo in photos:
            shutil.copy(photo, out / "people" / name)
    timed(*FACEOPS, "enrol", out / "people", "--gallery", out / "gallery", "--model", "published")


def identify(photos: Path, out: Path, found: str, **options: float) -> Timed:
    """Name the people in a folder of photos."""
    release = ("--gallery", out / "gallery", "--model", "published")
    return timed(*FACEOPS, "identify", photos, *release, "--out", out / found, **options)


def again(args: argparse.Namespace) -> None:
    """Run, change something, run again; print the table."""
    people, album = list(able(args.lfw).items())[: ENROLLED + args.times], args.out / "album"
    enrolled = {photo for _, photos in people for photo in photos}
    album.mkdir()
    for path in sorted(set(args.lfw.glob("*/*.jpg")) - enrolled)[: args.photos]:
        shutil.copy(path, album)
    photos, later = sorted(album.iterdir()), people[ENROLLED:]

    def change() -> None:
        for path in Random(time.monotonic_ns()).sample(photos, max(1, len(photos) // 100)):
            with path.open("ab") as file:
                file.write(os.urandom(8))

    enrol(dict(people[:ENROLLED]), args.out)
    first = identify(album, args.out, "found").seconds
    print(f"{len(photos)} photos: first run {first:.1f} s, {len(photos) / first:.1f} photos/s")
    print("| run | seconds | times faster |\n| --- | ---: | ---: |")
    changes: dict[str, Callable[[], None]] = {
        "nothing changed": lambda: None,
        "one person enrolled": lambda: enrol(dict([later.pop()]), args.out),
        "1 % of photos changed": change,
    }
    for name, make in changes.items():
        taken = []
        for _ in range(args.times):
            make()
            taken.append(identify(album, args.out, "found").seconds)
        median = statistics.median(taken)
        print(f"| {name} | {median:.2f} | {first / median:.0f} |", flush=True)


def alter(job: tuple[Path, Path, int]) -> None:
    """Write a photo that resembles another one."""
    source, target, seed = job
    draw = Random(seed)
    with Image.open(source) as image:
        photo = image.convert("RGB")
    if draw.random() < 0.5:
        photo = ImageOps.mirror(photo)
    photo = ImageOps.crop(photo, round(MARGIN * min(photo.size)))
    photo = photo.rotate(draw.uniform(-5, 5), Image.Resampling.BILINEAR)
    photo = ImageEnhance.Brightness(photo).enhance(draw.uniform(0.8, 1.2))
    photo.save(target, "JPEG", quality=draw.randint(80, 95))


def make_album(lfw: Path, album: Path, photos: int) -> None:
    """Write `photos` altered photos below `album`, a thousand a folder."""
    sources, jobs = sorted(lfw.glob("*/*.jpg")), []
    for number, source in zip(range(photos), itertools.cycle(sources), strict=False):
        folder = album / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        jobs.append((source, folder / f"{number:06d}.jpg", number))
    with ProcessPoolExecutor() as pool:
        for _ in track(pool.map(alter, jobs, chunksize=64), "album", total=len(jobs)):
            pass


def rows(out: Path) -> list[list[str]]:
    """Return the rows of a run, without its id."""
    with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
        return [row[1:] for row in csv.reader(file)]


def killed(args: argparse.Namespace) -> None:
    """Run undisturbed and killed; print time, memory, state, and whether the rows are equal."""
    album, tenth = args.out / "album", args.out / "tenth"
    enrol(dict(list(able(args.lfw).items())[:ENROLLED]), args.out)
    make_album(args.lfw, album, args.photos)
    tenth.mkdir()
    folders = sorted(album.iterdir())
    for folder in folders[: max(1, len(folders) // 10)]:
        (tenth / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
    for photos, name in ((tenth, "found_tenth"), (album, "undisturbed")):
        run, found = identify(photos, args.out, name), args.out / name
        done = json.loads((found / "summary.json").read_text("utf-8"))
        print(
            f"{done['photos']} photos, {done['faces']} faces in {run.seconds:.0f} s, peak"
            f" {run.peak_mib:.0f} MiB, state {(found / 'state.sqlite').stat().st_size / 2**20:.0f}"
            f" MiB; parts {done['timings']}",
            flush=True,
        )
    draw, spent, kills = Random(0), 0.0, 0
    for _ in range(args.kills):
        moment = 2 + draw.random() * run.seconds / (args.kills + 1)
        attempt = identify(album, args.out, "disturbed", kill_after=moment)
        spent, kills = spent + attempt.seconds, kills + bool(attempt.status)
    spent += identify(album, args.out, "disturbed").seconds
    ratio = spent / run.seconds
    print(f"killed {kills} times, all runs together {ratio:.2f} times the undisturbed")
    if rows(args.out / "undisturbed") != rows(args.out / "disturbed"):
        sys.exit("the rows differ")
    print("the rows are equal")


def main() -> None:
    """Parse the arguments and run one kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("again", "killed"))
    parser.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--photos", type=int, help="again: all; killed: 100000")
    parser.add_argument("--times", type=int, default=3, help="again: runs of each kind [3]")
    parser.add_argument("--kills", type=int, default=5, help="killed: SIGKILLs [5]")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    if args.kind == "again":
        again(args)
    else:
        args.photos = args.photos or 100_000
        killed(args)


if __name__ == "__main__":
    main()
