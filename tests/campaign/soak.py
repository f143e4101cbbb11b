"""Thousands of runs over an archive that changes, beside a plain model of what must hold.

    python -m tests.campaign.soak --work DIR --runs 2000

Between runs an archive changes in one to three ways: photos are added, moved, deleted, replaced in
place at equal size and time, or damaged; people are enrolled, renamed, merged or forgotten. After
each run the rows name exactly the photos of the folder with their contents, only enrolled people
are named, and a forgotten person is in no file. A run into a new folder must give the same rows,
now and then. Memory and open files must not grow.
"""

import argparse
import hashlib
import os
import random
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.reasons import Reason
from faceops.base.work import track
from faceops.gallery import people
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.forget.forget import forget_person
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.release.bundle import Bundle
from tests.campaign.world import Parts, make_parts

SETTINGS = IdentifySettings(xmp=True, keep_runs=2, threads=1)
MOST_PHOTOS, MOST_PEOPLE = 14, 6
GROWTH = 1.1  # of the memory between the second and the last quarter of the runs


class Archive:
    """A folder of photos, a gallery and results, and what a user knows of them.

    Attributes:
        changes: how often each kind of change was made.
        gone: every name that was forgotten; names are never used twice.
    """

    def __init__(self, work: Path, parts: Parts, seed: int) -> None:
        shutil.rmtree(work, ignore_errors=True)
        self.photos, self.people_dir, self.gallery, self.out, self.fresh = (
            work / name for name in ("photos", "people", "gallery", "out", "fresh")
        )
        self.bundle = Bundle.load(parts.bundle)
        self.album = [path.read_bytes() for path in sorted((parts.data / "album").glob("*.jpg"))]
        self.faces = [sorted(path.iterdir()) for path in sorted((parts.data / "enrol").iterdir())]
        self.random = random.Random(seed)
        self.changes: Counter[str] = Counter()
        self.gone: set[str] = set()
        self.number = 0
        self.shown: dict[str, int] = {}  # by name, the person of `faces`
        self.photos.mkdir(parents=True)
        for _ in range(4):
            self.add_photo()
        for _ in range(3):
            self.enrol_person()

    def files(self) -> list[Path]:
        """Return the photos, sorted."""
        return sorted(path for path in self.photos.rglob("*.jpg") if path.is_file())

    def new_name(self) -> str:
        """Return a name that was never used."""
        self.number += 1
        return f"Qz{self.number:05d}x"

    def add_photo(self) -> None:
        """Add one, perhaps a copy of one that is there, in a sub-folder or not."""
        folder = self.photos / self.random.choice(["", "a", "a/b", "ü ö"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.new_name()}.jpg").write_bytes(self.random.choice(self.album))

    def move_photo(self) -> None:
        """Move one to another folder and name."""
        path = self.random.choice(self.files())
        target = self.photos / self.random.choice(["c", "d/e"]) / f"{self.new_name()}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)

    def delete_photo(self) -> None:
        """Delete one; two stay."""
        if len(self.files()) > 2:
            self.random.choice(self.files()).unlink()

    def replace_photo(self) -> None:
        """Write another photo into one's file, with the same size and modification time."""
        path = self.random.choice(self.files())
        status = path.stat()
        fitting = [each for each in self.album if len(each) <= status.st_size]
        if fitting:
            content = self.random.choice(fitting)
            with path.open("r+b") as file:
                file.write(content.ljust(status.st_size, b"\0"))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def damage_photo(self) -> None:
        """Cut one in half."""
        path = self.random.choice(self.files())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1])

    def touch_photo(self) -> None:
        """Change the times of one."""
        self.random.choice(self.files()).touch()

    def enrol_person(self) -> None:
        """Enrol somebody who is not enrolled, under a new name."""
        free = sorted(set(range(len(self.faces))) - set(self.shown.values()))
        if free:
            name, person = self.new_name(), self.random.choice(free)
            shutil.rmtree(self.people_dir, ignore_errors=True)
            (self.people_dir / name).mkdir(parents=True)
            for path in self.faces[person]:
                shutil.copy(path, self.people_dir / name)
            enrol(self.people_dir, self.gallery, self.bundle)
            self.shown[name] = person

    def rename_person(self) -> None:
        """Give somebody a new name."""
        old, new = self.random.choice(sorted(self.shown)), self.new_name()
        people.rename(self.gallery, old, new)
        self.shown[new] = self.shown.pop(old)

    def merge_people(self) -> None:
        """Make one of two people; three stay."""
        if len(self.shown) > 3:
            gone, kept = self.random.sample(sorted(self.shown), 2)
            people.merge(self.gallery, gone, kept)
            del self.shown[gone]

    def forget_person(self) -> None:
        """Forget somebody; two stay."""
        if len(self.shown) > 2:
            name = self.random.choice(sorted(self.shown))
            result = forget_person(self.gallery, name)
            assert result.complete, f"{name}: {result.unreachable} {result.proof.found}"
            del self.shown[name]
            self.gone.add(name)

    def change(self) -> None:
        """Change something."""
        kinds = [self.move_photo, self.delete_photo, self.replace_photo, self.damage_photo]
        kinds += [self.touch_photo, self.rename_person, self.merge_people, self.forget_person]
        kinds += [self.add_photo] * 3 * (len(self.files()) < MOST_PHOTOS)
        kinds += [self.enrol_person] * 3 * (len(self.shown) < MOST_PEOPLE)
        kind = self.random.choice(kinds)
        self.changes[kind.__name__] += 1
        kind()

    def run(self) -> tuple[Summary, list[dict[str, Any]]]:
        """Run identify; return the summary and the rows without their run."""
        gallery = Gallery.open(self.gallery)
        summary = identify(self.photos, gallery, self.bundle, self.out, SETTINGS)
        return summary, rows_of(self.out)

    def rows_in_a_new_folder(self) -> list[dict[str, Any]]:
        """Return the rows of a run that knows nothing, from a copy of the gallery."""
        shutil.rmtree(self.fresh, ignore_errors=True)
        gallery = Path(shutil.copytree(self.gallery, self.fresh / "gallery"))
        settings = replace(SETTINGS, xmp=False)
        identify(self.photos, Gallery.open(gallery), self.bundle, self.fresh / "out", settings)
        return rows_of(self.fresh / "out")

    def check(self, rows: list[dict[str, Any]]) -> None:
        """Compare the rows with the folder, the names with the gallery; look for the forgotten."""
        contents = {
            path.relative_to(self.photos).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.files()
        }
        assert {row["photo_path"]: row["photo_id"] for row in rows} == contents
        places = [(row["photo_path"], row["face_index"]) for row in rows]
        assert len(set(places)) == len(places), "a row is there twice"
        gallery = Gallery.open(self.gallery)
        assert set(gallery.people) <= set(self.shown)
        assert {row["person"] for row in rows} - {None} <= set(gallery.people)
        files = [path for folder in (self.gallery, self.out, self.photos)
                 for path in folder.rglob("*") if path.is_file()]  # fmt: skip
        for path in files:
            content = path.read_bytes()
            found = [name for name in self.gone if name.encode() in content]
            assert not found, f"{found} in {path}"


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Return the rows in an output folder without their run."""
    return list(pq.read_table(out / "faces.parquet").drop_columns("run_id").to_pylist())


def memory() -> tuple[float, int]:
    """Return the resident memory in MB and the number of open files of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list(Path("/proc/self/fd").iterdir()))


def soak(archive: Archive, runs: int, fresh_every: int) -> str:
    """Change the archive and run, so many times; return one line of figures.

    Raises:
        AssertionError: something does not hold, with the number of the run.
    """
    used, unchanged, fresh = [], 0, 0
    for number in track(range(runs), "soak", total=runs):
        changes = archive.random.choice([0, 1, 1, 1, 2, 3])
        for _ in range(changes):
            archive.change()
        try:
            summary, rows = archive.run()
            archive.check(rows)
            unchanged += summary.unchanged
            assert changes or not number or summary.unchanged, "nothing changed, but it ran"
            if number % fresh_every == fresh_every - 1:
                _compare(rows, archive.rows_in_a_new_folder())
                fresh += 1
        except (AssertionError, FaceOpsError) as error:
            raise AssertionError(f"run {number}: {error}") from error
        used.append(memory())
    quarter = max(1, len(used) // 4)
    early, late = used[quarter : 2 * quarter] or used, used[-quarter:]
    (mb_early, files_early), (mb_late, files_late) = (
        [statistics.median(column) for column in zip(*part, strict=True)] for part in (early, late)
    )
    if runs >= 200:
        assert mb_late <= mb_early * GROWTH, f"memory grew from {mb_early:.0f} to {mb_late:.0f} MB"
        assert files_late <= files_early, f"open files grew from {files_early} to {files_late}"
    return (
        f"{runs} runs, {unchanged} unchanged, {fresh} compared with a new folder, "
        f"{sum(archive.changes.values())} changes, {len(archive.gone)} people forgotten; memory "
        f"{mb_early:.0f} then {mb_late:.0f} MB, open files {files_early:g} then {files_late:g}"
    )


def _compare(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compare rows with those of a new folder; floats to rounding.

    A new folder does not know which faces were forgotten: photos with such a face may differ.
    """
    assert len(rows) == len(expected)
    forgotten = {row["photo_path"] for row in rows if row["reason"] == Reason.FORGOTTEN}
    for one, other in zip(rows, expected, strict=True):
        if one["photo_path"] in forgotten:
            continue
        for name, value in one.items():
            same = value == other[name] or (
                isinstance(value, float) and abs(value - other[name]) < 1e-4
            )
            assert same, f"{one['photo_path']}: {name} is {value}, in a new folder {other[name]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of a soak; what does not hold raises."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the archive")
    parser.add_argument("--parts", type=Path, help="folder of bundle/ and data/ (default: in work)")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--fresh-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    parts = make_parts((options.parts or options.work / "parts").resolve())
    archive = Archive((options.work / "archive").resolve(), parts, options.seed)
    print(soak(archive, options.runs, options.fresh_every))
    for name, count in sorted(archive.changes.items()):
        print(f"{name:<16}{count:>6}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
