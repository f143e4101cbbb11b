"""A large folder: time, memory, state; and killed five times, the same rows come out.

python -m benchmarks.identify_killed --data data --gallery gallery --bundle build/export --out OUT
    [--photos 100000] [--kills 5]

The photos are those of `data`, altered so that no two contents are equal: their middle, mirrored,
turned a little, brighter or darker, by a seeded draw. One run goes undisturbed; another, into a
folder of its own, gets SIGKILL at random moments and is started again each time. Rows must be equal
but for the run's id. Time is also given for the first tenth, to see whether it grows with the
folder.
"""

import argparse
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

from PIL import Image, ImageEnhance, ImageOps

from benchmarks.as_a_user import as_a_user
from faceops.base.progress import track
from faceops.photos.walk import walk_photos

MARGIN = 0.18  # cut off on each side: of LFW's photos one face is left, and it is scale that counts


def alter(job: tuple[Path, Path, int]) -> None:
    """Write a photo that is like another one, and not the same."""
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
    """Make what is missing of the album."""
    sources = [path for path in walk_photos(data) if path.suffix == ".jpg"]
    jobs = []
    for number, source in zip(range(photos), itertools.cycle(sources), strict=False):
        folder = album / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{number:06d}.jpg"
        if not target.exists():
            jobs.append((source, target, number))
    with ProcessPoolExecutor() as pool:
        for _ in track(pool.map(alter, jobs, chunksize=64), "album", total=len(jobs)):
            pass


def rows(out: Path) -> list[list[str]]:
    """Return the records without the run's id."""
    with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
        return [row[1:] for row in csv.reader(file)]


def run(command: list[str], kill_after: float | None) -> tuple[float, float, int]:
    """Return seconds, peak MiB and exit status of a command; SIGKILL it if it takes so long."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=as_a_user())
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            return time.monotonic() - began, usage.ru_maxrss / 1024, status
        if kill_after is not None and time.monotonic() - began >= kill_after:
            os.kill(process.pid, signal.SIGKILL)
            kill_after = None
        time.sleep(0.05)


def main() -> None:
    """Make the album, run twice, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--bundle", default="build/export")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    album = args.out / "album"
    make_album(args.data, album, args.photos)

    def command(photos: Path, out: str) -> list[str]:
        return [
            *(sys.executable, "-m", "faceops.cli", "identify", str(photos)),
            *("--gallery", str(args.gallery), "--bundle", args.bundle),
            *("--out", str(args.out / out)),
        ]

    undisturbed, killed = args.out / "undisturbed", args.out / "killed"
    if undisturbed.exists() or killed.exists():
        sys.exit(
            f"{undisturbed} or {killed} exists; remove them or name another folder with --out."
        )
    tenth = args.out / "tenth"
    tenth.mkdir(exist_ok=True)
    folders = sorted(album.iterdir())
    for folder in folders[: max(1, len(folders) // 10)]:
        if not (tenth / folder.name).exists():
            (tenth / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
    for name, photos in (("a tenth", tenth), ("all", album)):
        out = undisturbed if photos is album else args.out / "found_tenth"
        seconds, peak, status = run(command(photos, out.name), None)
        if status:
            sys.exit(f"the undisturbed run over {name} failed")
        summary = json.loads((out / "summary.json").read_text("utf-8"))
        state = (out / "state.sqlite").stat().st_size / 2**20
        photos_seen = summary["photos"]
        print(
            f"{name}: {photos_seen} photos, {summary['faces']} faces in {seconds:.0f} s, "
            f"{photos_seen / seconds:.1f} photos/s, peak {peak:.0f} MiB, state {state:.0f} MiB "
            f"({1024 * state / photos_seen:.1f} KiB a photo); parts {summary['timings']}",
            flush=True,
        )
        whole = seconds
    draw = Random(args.seed)
    spent = 0.0
    for number in range(args.kills):
        seconds, _, status = run(
            command(album, killed.name), 2 + draw.random() * whole / (args.kills + 1)
        )
        spent += seconds
        print(f"run {number + 1}: killed after {seconds:.0f} s (status {status})", flush=True)
    seconds, peak, status = run(command(album, killed.name), None)
    spent += seconds
    if status:
        sys.exit("the last run failed")
    summary = json.loads((killed / "summary.json").read_text("utf-8"))
    same = rows(undisturbed) == rows(killed)
    print(
        f"last run: {seconds:.0f} s, {summary['photos_reused']} of {summary['photos']} photos "
        f"known, peak {peak:.0f} MiB; all runs together {spent / whole:.2f} times the undisturbed"
    )
    print(f"rows {'equal' if same else 'DIFFER FROM'} those of the undisturbed run")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
