"""What later runs of `faceops identify` cost, and whether killed runs give the same rows.

    python -m benchmarks.identify_runs again --data data --bundle build/export --out OUT
    python -m benchmarks.identify_runs next_model --photos DIR --people DIR --bundle DIR --out OUT
    python -m benchmarks.identify_runs killed --data data --gallery DIR --bundle DIR --out OUT

again: the first run over the photos of `data`; then nothing changed, one more person enrolled, and
1 % of the photos changed. Later runs are repeated; medians of whole commands.

next_model: runs with a release, with another one whose embedder differs (tests/releases.py),
and with the first one again, with and without --keep-crops. The rows of both must be equal.

killed: a large folder, made of altered photos of `data` so that no two files are equal. One run is
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
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageEnhance, ImageOps

from benchmarks import FACEOPS, timed
from experiments.lfw_identification import choose
from faceops.base.progress import track
from faceops.photos.walk import walk_photos
from tests.releases import alter_release

MARGIN = 0.18  # cut off each side of LFW's photos, so that one face is left
ENROLLED = 50  # people


def summary(out: Path) -> dict[str, Any]:
    """Return the summary of the latest run."""
    content: dict[str, Any] = json.loads((out / "summary.json").read_text("utf-8"))
    return content


def again(args: argparse.Namespace) -> None:
    """Run, change something, run again; print the table."""
    known, _ = choose(args.split, ENROLLED + args.times, 0)
    enrolled = {path for paths in known.values() for path in paths[:2]}
    album, people, out = (args.out / name for name in ("album", "people", "found"))
    album.mkdir()
    paths = pq.read_table(args.split, columns=["path"])["path"].to_pylist()
    for path in [path for path in paths if path not in enrolled][: args.photos]:
        shutil.copyfile(args.data / path, album / Path(path).name)
    photos = sorted(album.iterdir())
    release = ("--gallery", args.out / "gallery", "--bundle", args.bundle)

    def enrol(persons: list[str]) -> None:
        for person in persons:
            (people / person).mkdir(parents=True)
            for path in known[person][:2]:
                shutil.copyfile(args.data / path, people / person / Path(path).name)
        timed(*FACEOPS, "enrol", people, *release)

    def change() -> None:
        for path in Random(time.monotonic_ns()).sample(photos, max(1, len(photos) // 100)):
            with path.open("ab") as file:
                file.write(os.urandom(8))

    def identify() -> float:
        return timed(*FACEOPS, "identify", album, *release, "--out", out).seconds

    first, *later = [sorted(known)[:ENROLLED], *([name] for name in sorted(known)[ENROLLED:])]
    enrol(first)
    seconds = identify()
    print(f"{len(photos)} photos: first run {seconds:.1f} s, {len(photos) / seconds:.1f} photos/s")
    print("| run | seconds | times faster |\n| --- | ---: | ---: |")
    changes: dict[str, Callable[[], None]] = {
        "nothing changed": lambda: None,
        "one person enrolled": lambda: enrol(later.pop()),
        "1 % of photos changed": change,
    }
    for name, make in changes.items():
        taken = []
        for _ in range(args.times):
            make()
            taken.append(identify())
        median = statistics.median(taken)
        print(f"| {name} | {median:.2f} | {seconds / median:.0f} |", flush=True)


def next_model(args: argparse.Namespace) -> None:
    """Run with one release, with the next, and with the first again; print the table."""
    after = alter_release(Path(args.bundle), args.out / "next")
    gallery, earlier = args.out / "gallery", args.out / "gallery_before"
    timed(*FACEOPS, "enrol", args.people, "--gallery", gallery, "--bundle", args.bundle)
    shutil.copytree(gallery, earlier)
    timed(*FACEOPS, "people", "reembed", "--gallery", gallery, "--bundle", after)
    print("| options | run | seconds | photos opened | photos reembedded | state MB |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    rows = []
    for options in (["--keep-crops"], []):
        out = args.out / ("kept" if options else "without")
        for run, people, release in (
            ("first", earlier, args.bundle),
            ("next model", gallery, after),
            ("first model again", earlier, args.bundle),
        ):
            command = ("identify", args.photos, "--gallery", people, "--out", out, *options)
            seconds = timed(*FACEOPS, *command, "--bundle", release).seconds
            done, size = summary(out), (out / "state.sqlite").stat().st_size / 1e6
            print(
                f"| {' '.join(options)} | {run} | {seconds:.1f} | {done['photos_opened']}"
                f" | {done['photos_reembedded']} | {size:.1f} |",
                flush=True,
            )
            if run == "next model":
                rows.append(pq.read_table(out / "faces.parquet").drop_columns("run_id"))
    print(f"{len(rows[0])} rows, equal with and without kept crops: {rows[0].equals(rows[1])}")


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


def make_album(data: Path, album: Path, photos: int) -> None:
    """Write `photos` altered photos below `album`, a thousand a folder."""
    sources = [path for path in walk_photos(data) if path.suffix == ".jpg"]
    jobs = []
    for number, source in zip(range(photos), itertools.cycle(sources), strict=False):
        folder = album / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        jobs.append((source, folder / f"{number:06d}.jpg", number))
    with ProcessPoolExecutor() as pool:
        for _ in track(pool.map(alter, jobs, chunksize=64), "album", total=len(jobs)):
            pass


def killed(args: argparse.Namespace) -> None:
    """Run undisturbed and killed; print time, memory, state, and whether the rows are equal."""
    album, tenth = args.out / "album", args.out / "tenth"
    make_album(args.data, album, args.photos)
    tenth.mkdir()
    folders = sorted(album.iterdir())
    for folder in folders[: max(1, len(folders) // 10)]:
        (tenth / folder.name).symlink_to(folder.resolve(), target_is_directory=True)

    def command(photos: Path, out: Path) -> tuple[str | Path, ...]:
        release = ("--gallery", args.gallery, "--bundle", args.bundle)
        return (*FACEOPS, "identify", photos, *release, "--out", out)

    def rows(out: Path) -> list[list[str]]:
        with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
            return [row[1:] for row in csv.reader(file)]  # without the run's id

    undisturbed, disturbed = args.out / "undisturbed", args.out / "disturbed"
    for photos, out in ((tenth, args.out / "found_tenth"), (album, undisturbed)):
        run = timed(*command(photos, out))
        done, state = summary(out), (out / "state.sqlite").stat().st_size / 2**20
        print(
            f"{done['photos']} photos, {done['faces']} faces in {run.seconds:.0f} s, peak"
            f" {run.peak_mib:.0f} MiB, state {state:.0f} MiB; parts {done['timings']}",
            flush=True,
        )
    draw = Random(0)
    spent, kills = 0.0, 0
    for _ in range(args.kills):
        moment = 2 + draw.random() * run.seconds / (args.kills + 1)
        attempt = timed(*command(album, disturbed), kill_after=moment)
        spent, kills = spent + attempt.seconds, kills + bool(attempt.status)
    spent += timed(*command(album, disturbed)).seconds
    same = rows(undisturbed) == rows(disturbed)
    print(
        f"killed {kills} times, all runs together {spent / run.seconds:.2f} times the undisturbed"
    )
    print(f"rows {'equal' if same else 'DIFFER FROM'} those of the undisturbed run")
    sys.exit(0 if same else 1)


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = {"again": again, "next_model": next_model, "killed": killed}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    parser.add_argument("--bundle", default="build/export")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", help="again: 13233, killed: 100000; next_model: a folder")
    parser.add_argument("--people", type=Path, help="next_model: folder of people to enrol")
    parser.add_argument("--gallery", type=Path, help="killed: the gallery")
    parser.add_argument("--times", type=int, default=3, help="again: runs of each kind [3]")
    parser.add_argument("--kills", type=int, default=5, help="killed: SIGKILLs [5]")
    args = parser.parse_args()
    if args.kind == "next_model":
        if not (args.photos and args.people):
            parser.error("next_model needs --photos DIR and --people DIR")
    else:
        args.photos = int(args.photos or (13_233 if args.kind == "again" else 100_000))
        if args.kind == "killed" and not args.gallery:
            parser.error("killed needs --gallery DIR")
    if args.out.exists():
        parser.error(f"{args.out} exists; name another folder")
    args.out.mkdir(parents=True)
    kinds[args.kind](args)


if __name__ == "__main__":
    main()
