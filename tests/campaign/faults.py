"""Make every write of a command fail, or kill the command there, and look at what is left.

    python -m tests.campaign.faults --work DIR                    # all operations, every write
    python -m tests.campaign.faults --work DIR --every 40 enrol   # a sample of one operation

Faults are injected into the C library's calls (`write_faults.c`, which needs a C compiler), so
that the writes of SQLite and Arrow are among them. After each fault the gallery, the rows and the
sidecars must be as they were before the command or as they are after it, exit code 0 must mean
after, and the same command run again must end in the state that an undisturbed one leaves.
"""

import argparse
import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from faceops.base.work import track
from faceops.gallery.storage import CROPS_FOLDER
from faceops.gallery.store import Gallery
from tests.campaign import world
from tests.campaign.world import Parts, faceops

SOURCE = Path(__file__).with_name("write_faults.c")
Folder = Path
Snapshot = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th call: an error (an errno, also later ones if `stays`) or SIGKILL."""

    name: str
    error: int = 0
    stays: bool = False


FAULTS = (
    Fault("disk full", errno.ENOSPC, stays=True),
    Fault("I/O error", errno.EIO),
    Fault("interrupted call", errno.EINTR),
    Fault("killed"),
)


@dataclass(frozen=True)
class Operation:
    """A command on an archive.

    Attributes:
        run: runs it on an archive and returns its exit code; may be called again.
        prepare: changes the archive first, without faults.
    """

    run: Callable[[Folder, Parts], int]
    prepare: Callable[[Folder], None] = lambda folder: None


def people(folder: Folder) -> list[str]:
    """Return the people of enrol/."""
    return sorted(path.name for path in (folder / "enrol").iterdir())


def add_people(folder: Folder) -> None:
    """Move the people of later/ into enrol/."""
    for person in sorted((folder / "later").iterdir()):
        person.rename(folder / "enrol" / person.name)


def add_photos(folder: Folder) -> None:
    """Remove one photo from the album and add those of more/."""
    min((folder / "album").glob("*.jpg")).unlink()
    for photo in sorted((folder / "more").iterdir()):
        photo.rename(folder / "album" / photo.name)


def command(*arguments: str) -> Callable[[Folder, Parts], int]:
    """Return a function that runs a command; `{gallery}` and the like are filled in."""

    def run(folder: Folder, parts: Parts) -> int:
        names = people(folder)
        places = {
            "gallery": folder / "gallery",
            "enrol": folder / "enrol",
            "out": folder / "out",
            "bundle": parts.bundle,
            "next": parts.next,
            "first": names[0],
            "second": names[1],
        }
        return faceops(*(argument.format(**places) for argument in arguments))

    return run


GALLERY = ("--gallery", "{gallery}")
BUNDLE = ("--bundle", "{bundle}")
# What the next command brings up to date: sidecars one by one, the alias of an ended challenge.
LATER = ("sidecars", "aliases")
OPERATIONS = {
    "enrol": Operation(command("enrol", "{enrol}", *GALLERY, *BUNDLE), add_people),
    "identify": Operation(world.identify, add_photos),
    "rename": Operation(command("people", "rename", "{first}", "Zoe", *GALLERY)),
    "merge": Operation(command("people", "merge", "{first}", "{second}", *GALLERY)),
    "forget": Operation(command("people", "forget", "{first}", *GALLERY)),
    "reembed": Operation(command("people", "reembed", "--bundle", "{next}", *GALLERY)),
    "promote": Operation(command("release", "promote", "4", "--override", "a campaign")),
    "name": Operation(command("name", "unknown-001", "Zoe", "--out", "{out}", *GALLERY, *BUNDLE)),
}


def snapshot(folder: Folder) -> Snapshot:
    """Return what the archive says: faces, names, rows and sidecars, without times and run ids."""
    gallery = Gallery.open(folder / "gallery")
    faces = [
        (face.person, face.photo_id, face.box, face.crop_id, face.embedding.tobytes().hex())
        for face in gallery.faces
    ]
    with pq.ParquetFile(folder / "out" / "faces.parquet") as file:
        rows = file.read().drop_columns("run_id").to_pylist()
    sidecars = {path.name: path.read_bytes() for path in sorted((folder / "album").glob("*.xmp"))}
    registry = {}
    if (folder / "mlflow.db").is_file():
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as db:
            registry = dict(db.execute("SELECT alias, version FROM registered_model_aliases"))
    stored = {"gallery": (faces, dict(gallery.aliases)), "rows": rows, "sidecars": sidecars}
    return {**stored, "champion": registry.get("champion"), "aliases": registry}


def leftovers(folder: Folder) -> list[str]:
    """Return what an archive at rest must not hold."""
    found = [
        f"left behind: {path.relative_to(folder)}"
        for path in folder.rglob("*")
        if path.name.endswith(".tmp") or path.name.startswith(".unfinished")
    ]
    gallery = Gallery.open(folder / "gallery")
    used = {face.crop_id for face in gallery.faces}
    stored = {path.stem for path in (folder / "gallery" / CROPS_FOLDER).rglob("*.png")}
    found += [f"crops {what}" for what in (used - stored, stored - used) if what]
    with contextlib.closing(sqlite3.connect(folder / "out" / "state.sqlite")) as db:
        (answer,) = db.execute("PRAGMA integrity_check").fetchone()
    found += [f"state.sqlite: {answer}"] if answer != "ok" else []
    rows = pq.read_table(folder / "out" / "faces.parquet").num_rows
    lines = (folder / "out" / "faces.jsonl").read_bytes().count(b"\n")
    found += [f"{rows} rows in Parquet, {lines} in JSON lines"] if rows != lines else []
    return found


class Laboratory:
    """Runs operations on copies of an archive, each in a child process that faults are armed in."""

    def __init__(self, work: Path, parts: Parts) -> None:
        self.parts, self.folder, self.template = parts, work / "world", work / "template"
        self.log, self._work = work / "log", work
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        code, _ = self.run(lambda folder, parts: int(not world.make_world(folder, parts).is_dir()))
        if code:
            raise RuntimeError(f"no archive could be made:\n{self.log.read_text()}")
        shutil.rmtree(self.template, ignore_errors=True)
        shutil.copytree(self.folder, self.template, symlinks=True)

    def renew(self, operation: Operation) -> None:
        """Bring back the archive, prepared for an operation."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.template, self.folder, symlinks=True)
        operation.prepare(self.folder)

    def run(
        self, run: Callable[[Folder, Parts], int], at: int = -1, fault: Fault = FAULTS[0]
    ) -> tuple[int, int]:
        """Return the exit code (negative: the signal; 70: a traceback) and the number of calls."""
        child = os.fork()
        if not child:
            code = 70
            try:
                log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(log, 1), os.dup2(log, 2)
                signal.alarm(300)
                self._library.write_faults_arm(
                    os.fsencode(self.folder), ctypes.c_long(at), fault.error, fault.stays
                )
                os.chdir(self.folder)
                code = run(self.folder, self.parts)
            except BaseException:  # noqa: BLE001  any is a finding
                traceback.print_exc()
            finally:
                calls = self._library.write_faults_calls()
                self._library.write_faults_arm(b"", ctypes.c_long(-1), 0, 0)
                (self._work / "calls").write_text(str(calls))
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return code, int((self._work / "calls").read_text()) if code >= 0 else 0


def try_operation(laboratory: Laboratory, operation: Operation, faults: Sequence[Fault], every: int,
                  name: str) -> list[str]:  # fmt: skip
    """Inject faults into an operation; print a row for each kind, and what is wrong."""
    laboratory.renew(operation)
    before = snapshot(laboratory.folder)
    code, calls = laboratory.run(operation.run)
    if code:
        print(f"{name}: the undisturbed command ended with {code}:\n{laboratory.log.read_text()}")
        return [name]
    after = snapshot(laboratory.folder)
    wrong = leftovers(laboratory.folder)
    print("\n".join(wrong), end="")
    for fault in faults:
        ends: Counter[str] = Counter()
        found: list[str] = []
        digest = int(hashlib.sha256(f"{name} {fault.name}".encode()).hexdigest(), 16)
        places = range(1 + digest % min(every, calls), calls + 1, every)
        for at in track(places, f"{name}, {fault.name}", total=len(places)):
            laboratory.renew(operation)
            code, _ = laboratory.run(operation.run, at, fault)
            ends["killed" if code < 0 else "success" if code == 0 else "error"] += 1
            where = f"{name}, {fault.name} at call {at} of {calls} (exit {code})"
            for what in _judge(laboratory, operation, code, before, after):
                found.append(f"{where}: {what}")
                print(found[-1], flush=True)
        counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
        print(
            f"{name:<10}{fault.name:<18}{len(places):>5} faults: {counts}; {len(found)} wrong",
            flush=True,
        )
        wrong += found
    return wrong


def _judge(
    laboratory: Laboratory, operation: Operation, code: int, before: Snapshot, after: Snapshot
) -> list[str]:
    """Return what is wrong after a fault, and after the command was run again."""
    log = laboratory.log.read_text(errors="replace")
    wrong = [f"a traceback:\n{log}"] if code == 70 or "Traceback" in log else []
    if code > 1 and code != 70:
        wrong.append(f"exit code {code}:\n{log}")
    try:
        now = snapshot(laboratory.folder)
        for part in now:
            if now[part] not in (before[part], after[part]) and part not in LATER:
                wrong.append(f"{part} are neither as before nor as after")
            if code == 0 and now[part] != after[part] and part not in LATER:
                wrong.append(f"success, but {part} are not as after it:\n{log}")
        for name in before["sidecars"].keys() | after["sidecars"].keys():
            content, end = (each["sidecars"].get(name) for each in (now, after))
            if content not in (before["sidecars"].get(name), end):
                wrong.append(f"the sidecar {name} is neither as before nor as after")
            if code == 0 and content != end and name not in log:  # reported, and retried
                wrong.append(f"success, but {name} is not as after it, and is not named:\n{log}")
        again, _ = laboratory.run(operation.run)
        log = laboratory.log.read_text(errors="replace")
        if again and code and now != after:  # what succeeded cannot be named twice
            wrong.append(f"run again it ended with {again}:\n{log}")
        now = snapshot(laboratory.folder)
        if now["sidecars"] != after["sidecars"] or leftovers(laboratory.folder):
            # What a command that is not repeated has left is up to the next run of identify.
            laboratory.run(world.identify)
            now = snapshot(laboratory.folder)
        wrong += [f"run again, {part} differ" for part in now if now[part] != after[part]]
        wrong += [f"run again: {what}" for what in leftovers(laboratory.folder)]
    except Exception as error:  # noqa: BLE001  any is a finding
        wrong.append(f"cannot be read: {error!r}")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Inject the faults; exit code 1 if anything went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for archives")
    parser.add_argument("--parts", type=Path, help="folder of bundle/ and data/ (default: in work)")
    parser.add_argument("--every", type=int, default=1, help="inject at every n-th call only")
    parser.add_argument("--fault", choices=[fault.name for fault in FAULTS], action="append")
    parser.add_argument("operation", nargs="*", metavar=f"{{{','.join(OPERATIONS)}}}")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    folder = (options.parts or work / "parts").resolve()
    if "write_faults" not in os.environ.get("LD_PRELOAD", ""):
        if options.parts is None:
            world.make_parts(folder)
        library = work / "write_faults.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        given = sys.argv[1:] if arguments is None else arguments
        environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["FACEOPS_CACHE"] = str(work / "cache")
        environment.pop("MLFLOW_TRACKING_URI", None)
        # A new process: ONNX Runtime's threads, which made the parts, do not survive a fork.
        module = [sys.executable, "-m", "tests.campaign.faults", *given]
        return subprocess.run(module, env=environment).returncode
    parts = Parts.at(folder)
    laboratory = Laboratory(work, parts)
    faults = [each for each in FAULTS if not options.fault or each.name in options.fault]
    wrong = []
    for name in options.operation or OPERATIONS:
        wrong += try_operation(laboratory, OPERATIONS[name], faults, options.every, name)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
