"""From nothing to names on photos, as a newcomer does it: writes docs/first-hour.txt.

    make wheel && python -m experiments.first_hour --lfw DIR --out OUT
    cp OUT/first-hour.txt docs/

Makes an environment, installs the wheel of dist/ without a cache, enrols 20 people of LFW from two
photos each, names them in an album with 100 strangers, and names an unknown person. Prints what the
commands print, with ~ for OUT, then the time of each. Packages and weights are downloaded: the
seconds include that, the CPU seconds are the work. It fails where a name is wrong or few are given.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from experiments import parser, run
from faceops.base.errors import FaceOpsError, UsageError

ENROLLED, UNKNOWN, STRANGERS = 20, 2, 100  # people
PHOTOS = range(6, 13)  # of a person who is enrolled, or unknown
ENROLLED_PHOTOS = 2
REMOVED = ("PYTHONPATH", "VIRTUAL_ENV", "MLFLOW_TRACKING_URI", "FACEOPS_WEIGHTS")


@dataclass
class Terminal:
    """A folder in which commands run; keeps what a user sees, and the time of each command."""

    folder: Path
    lines: list[str] = field(default_factory=list)
    times: list[tuple[str, float, float]] = field(default_factory=list)

    def type(self, command: str) -> None:
        """Run a command.

        Raises:
            FaceOpsError: it failed.
        """
        kept = {name: value for name, value in os.environ.items() if name not in REMOVED}
        kept |= {"PATH": f"{self.folder}/venv/bin:{kept['PATH']}", "PIP_NO_CACHE_DIR": "1"}
        # PIP_QUIET: no warnings about the settings of this machine's pip.
        kept |= {"FACEOPS_CACHE": str(self.folder / "cache"), "PIP_QUIET": "1"}
        began = time.monotonic()
        process = subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout:
            text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise FaceOpsError(f"`{command}` failed: {text.strip()}")
        text = text.replace(str(self.folder), "~")
        self.times.append((command, time.monotonic() - began, usage.ru_utime + usage.ru_stime))
        self.lines += [f"$ {command}", *text.splitlines(), ""]
        print("\n".join(self.lines[-len(text.splitlines()) - 2 :]), flush=True)


def lay_out(lfw: Path, out: Path) -> None:
    """Copy photos into `out`/people and `out`/photos."""
    photos = {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted(lfw.iterdir())}
    several = [name for name, found in photos.items() if len(found) in PHOTOS]
    single = [name for name, found in photos.items() if len(found) == 1]
    (out / "photos").mkdir(parents=True)
    for name in several[:ENROLLED]:
        (out / "people" / name).mkdir(parents=True)
        for photo in photos[name][:ENROLLED_PHOTOS]:
            shutil.copy(photo, out / "people" / name)
    rest = [photo for name in several[:ENROLLED] for photo in photos[name][ENROLLED_PHOTOS:]]
    unknown = several[ENROLLED : ENROLLED + UNKNOWN]
    rest += [photo for name in unknown + single[:STRANGERS] for photo in photos[name]]
    for photo in rest:
        shutil.copy(photo, out / "photos")


def person_of(photo: str) -> str:
    """Return the name in the name of an LFW photo."""
    return re.sub(r"_\d+\.jpg$", "", photo).replace("_", " ")


def rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def main() -> None:
    """Run the commands, print the table, and write what the commands print to first-hour.txt."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    options.add_argument("--out", type=Path, required=True, help="a new folder")
    args = options.parse_args()
    out = args.out.resolve()
    wheels = sorted(Path("dist").glob("faceops-*.whl"))
    if out.exists() or len(wheels) != 1:
        raise UsageError("name a new folder with --out, and have one wheel in dist/: make wheel.")
    lay_out(args.lfw, out)
    (out / "dist").mkdir()
    shutil.copy(wheels[0], out / "dist")
    terminal = Terminal(out)
    terminal.type("python3 -m venv venv")
    terminal.type(f"pip install -q dist/{wheels[0].name}")
    terminal.type("faceops enrol people")
    terminal.type("faceops identify photos --out found")
    given = [(row["person"], person_of(row["photo_path"])) for row in rows(out / "found/faces.csv")]
    frequent = max(rows(out / "found/unknown.csv"), key=lambda row: int(row["photos"]))
    name = person_of(frequent["photo_path"])
    terminal.type(f'faceops name {frequent["unknown"]} "{name}" --out found')

    enrolled = {person_of(f"{folder.name}_0.jpg") for folder in (out / "people").iterdir()}
    shown = sum(person_of(photo.name) in enrolled for photo in (out / "photos").iterdir())
    right = sum(person == label for person, label in given)
    wrong = sum(person not in ("", label) for person, label in given)
    first = [sum(column) for column in zip(*(one[1:] for one in terminal.times[:4]), strict=True)]
    total = ("the first four, to the first faces.csv", *first)
    table = [" seconds  CPU seconds"]
    table += [f"{wall:8.1f} {cpu:12.1f}  {what}" for what, wall, cpu in (*terminal.times, total)]
    size = sum(file.stat().st_size for file in (out / "venv").rglob("*") if file.is_file())
    table.append(f"{size / 2**20:.0f} MiB in venv/, pip and the bytecode of Python included")
    table.append(f"{shown} photos of enrolled people: {right} right names; {wrong} wrong names")
    print("\n".join(table))
    (out / "first-hour.txt").write_text("\n".join(terminal.lines), "utf-8")
    if wrong or right < 0.9 * shown:
        raise FaceOpsError("too few right names, or a wrong one.")


if __name__ == "__main__":
    run(main)
