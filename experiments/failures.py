"""Runs in which something fails: lost, doubled and different rows, and what the user is told.

    python -m experiments.failures --lfw LFW/lfw-deepfunneled --out OUT [--photos 160] [--rows ROW]

A run is `python -m flows.identify` with photos, shards and results in an S3 store, the gallery in
PostgreSQL, and two workers of Dask, which a supervisor starts again when they end; all servers run
on this machine. The command is run again until it ends well. The rows of faces.csv and unknown.csv,
without the id of the run, are compared with those of one undisturbed `faceops identify`. Workers or
the driver are cut off by a network namespace, which takes root and `ip`.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import FACEOPS, timed
from benchmarks.cluster import BUCKET, PREFECT, SCHEDULER, STORE, WORKER, Cluster, choose, rows
from experiments import parser as new_parser
from tests.postgres_server import PostgresServer

DOWN_S = 30
HOST, OTHER = "10.231.8.1", "10.231.8.2"
MOST_RUNS = 5


def ip(*words: str) -> None:
    """Run `ip`, or exit with what it says."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"no network namespace here: ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def namespace() -> Iterator[str]:
    """Make a network namespace with the address OTHER, which reaches HOST here; yield its name."""
    name = f"faceops{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", "wire", "netns", name)
        for where, device, address in ((("-n", name), "wire", OTHER), ((), name, HOST)):
            ip(*where, "address", "add", f"{address}/24", "dev", device)
            ip(*where, "link", "set", device, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


class Run:
    """Runs of the command into one new folder of results, until one ends well.

    `drivers` gets their processes.
    """

    def __init__(
        self, command: list[str], out: Path, drivers: list[subprocess.Popen[bytes]]
    ) -> None:
        self.out, self._log, self._drivers = out, out.with_suffix(".log"), drivers
        target = ["--out", f"s3://{BUCKET}/{out.name}", "--state", str(out)]
        self._command = [*command, *target]
        self.codes: list[int] = []
        self.start()

    def start(self) -> None:
        """Start it, again."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self._drivers.append(self.process)

    def said(self) -> str:
        """Return all messages of the runs so far."""
        return self._log.read_text("utf-8", errors="replace")

    def wait_until(self, is_time: Callable[["Run"], bool]) -> None:
        """Wait for a moment, or the end."""
        while self.process.poll() is None and not is_time(self):
            time.sleep(0.02)
        if self.process.poll() is not None:
            print(f"  {self.out.name}: the run ended before the failure", flush=True)

    def end(self, supervise: Callable[[], None]) -> None:
        """Wait for the end, and run it again until it ends well."""
        while True:
            while self.process.poll() is None:
                supervise()
                time.sleep(1)
            self.codes.append(self.process.returncode)
            if self.codes[-1] == 0 or len(self.codes) == MOST_RUNS:
                return
            self.start()

    def messages(self) -> list[str]:
        """Return warnings, errors and the sentence of a run that failed, without their times."""
        told = re.compile(r"[0-9:.]+ \| (?:WARNING|ERROR|CRITICAL) *\| (.*)|(identify: .*)")
        lines = filter(None, map(told.match, self.said().splitlines()))
        return [re.sub("^(Flow|Task) run '.*?' - ", "", line[1] or line[2]) for line in lines]


def has_begun(run: Run) -> bool:
    """Whether shards are at work."""
    return " new photos in " in run.said()


def has_faces(run: Run) -> bool:
    """Whether a shard was taken in."""
    if not (run.out / "state.sqlite").is_file():
        return False
    with closing(sqlite3.connect(f"file:{run.out}/state.sqlite?mode=ro", uri=True)) as db:
        try:
            return bool(db.execute("SELECT EXISTS (SELECT 1 FROM files)").fetchone()[0])
        except sqlite3.Error:
            return False


def is_naming(run: Run) -> bool:
    """Whether all shards are done, and the names and the results are being made."""
    return any((run.out / "runs").glob("*"))


def is_published(run: Run) -> bool:
    """Whether the results are done here, and are being copied to the store."""
    return (run.out / "summary.json").is_file()


class World:
    """All servers and workers; `wire` is the namespace.

    Attributes:
        inside: the command that runs another one in the namespace.
        cut_off: the workers run there.
    """

    def __init__(self, cluster: Cluster, postgres: PostgresServer, wire: str) -> None:
        self._cluster, self._postgres, self._wire = cluster, postgres, wire
        self.inside, self.cut_off = ["ip", "netns", "exec", wire], False
        self.scheduler = cluster.serve_scheduler()

    def supervise(self) -> None:
        """See that there are two workers."""
        alive = sum(process.poll() is None for process in self._cluster.processes[WORKER])
        inside = self.inside if self.cut_off else ()
        self._cluster.add_workers(self.scheduler, 2 - alive, inside)

    def move_workers(self, cut_off: bool) -> None:
        """End workers that are not where they are to be, and see that there are two."""
        for process in self._cluster.processes[WORKER] if cut_off != self.cut_off else ():
            process.kill()
            process.wait()
        self.cut_off = cut_off
        self.supervise()

    def kill(self, module: str) -> None:
        """Kill the process by SIGKILL that was started last."""
        process = self._cluster.processes[module][-1]
        process.kill()
        process.wait()

    def restart(self, module: str, down_s: float = 0) -> None:
        """Kill a server, and start it again later."""
        self.kill(module)
        time.sleep(down_s)
        self._cluster.serve(module)

    def stop_store(self) -> None:
        """Stop the store: it takes connections and does not answer."""
        process = self._cluster.processes[STORE][-1]
        process.send_signal(signal.SIGSTOP)
        time.sleep(DOWN_S)
        process.send_signal(signal.SIGCONT)

    def restart_postgres(self) -> None:
        """Stop PostgreSQL, which ends all connections, and start it again."""
        self._postgres.stop()
        time.sleep(DOWN_S)
        self._postgres.start()

    def cut(self, seconds: float) -> None:
        """Take the link down; nobody gets a closed connection."""
        ip("-n", self._wire, "link", "set", "wire", "down")
        time.sleep(seconds)
        ip("-n", self._wire, "link", "set", "wire", "up")


class Row(NamedTuple):
    """What fails when, until all is well again, and whom the namespace cuts off."""

    name: str
    moment: Callable[[Run], bool]
    fail: Callable[[World], None]
    cut_off: str = ""


DRIVER, LONG_S = "driver", 3 * DOWN_S  # longer than Dask keeps a silent connection
FOR, LONG = f"for {DOWN_S} s", f"for {LONG_S} s"
KILL_DRIVER: Callable[[World], None] = lambda world: world.kill(DRIVER)  # noqa: E731
CUT: Callable[[World], None] = lambda world: world.cut(DOWN_S)  # noqa: E731
CUT_LONG: Callable[[World], None] = lambda world: world.cut(LONG_S)  # noqa: E731
ROWS = {
    "worker": Row("a worker killed", has_faces, lambda world: world.kill(WORKER)),
    "scheduler": Row("the scheduler killed, another started", has_faces,
                     lambda world: world.restart(SCHEDULER)),
    "driver-early": Row("the driver killed at its first shards", has_begun, KILL_DRIVER),
    "driver": Row("the driver killed between shards", has_faces, KILL_DRIVER),
    "driver-naming": Row("the driver killed while it names", is_naming, KILL_DRIVER),
    "driver-copy": Row("the driver killed while it copies results", is_published, KILL_DRIVER),
    "store-stopped": Row(f"S3 does not answer {FOR}", has_faces, World.stop_store),
    "store-killed": Row(f"S3 killed, away {FOR}", has_faces,
                        lambda world: world.restart(STORE, DOWN_S)),
    "postgres": Row(f"PostgreSQL stopped {FOR}, between shards", has_faces,
                    World.restart_postgres),
    "postgres-naming": Row(f"PostgreSQL stopped {FOR}, while names are decided", is_naming,
                           World.restart_postgres),
    "prefect": Row("Prefect's server killed, started again", has_faces,
                   lambda world: world.restart(PREFECT)),
    "workers-cut": Row(f"workers cut off {FOR}", has_faces, CUT, WORKER),
    "workers-cut-long": Row(f"workers cut off {LONG}", has_faces, CUT_LONG, WORKER),
    "driver-cut": Row(f"the driver cut off {FOR}", has_faces, CUT, DRIVER),
    "driver-cut-long": Row(f"the driver cut off {LONG}", has_faces, CUT_LONG, DRIVER),
}  # fmt: skip


def compare(out: Path, expected: dict[str, list[dict[str, str]]]) -> tuple[int, int, int]:
    """Return how many rows are lost, doubled and different."""
    found, lost, doubled, different = rows(out), 0, 0, 0
    for name in expected:
        wanted, there = (
            {(row["photo_path"], row["face_index"]): row for row in tables[name]}
            for tables in (expected, found)
        )
        lost += len(wanted.keys() - there.keys())
        doubled += len(found[name]) - len(there)
        different += sum(wanted.get(key) != row for key, row in there.items())
    return lost, doubled, different


def main() -> int:
    """Run all rows; print the table, exit code 1 if a row is lost, doubled or different."""
    parser = new_parser(__doc__)
    parser.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    text = "a folder; that of an earlier call has the photos and the gallery already"
    parser.add_argument("--out", type=Path, required=True, help=text)
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    args = parser.parse_args()
    out, wanted = args.out.resolve(), {name: ROWS[name] for name in args.rows}
    here, album = out / time.strftime("%Y%m%dT%H%M%S"), out / "album"
    with (
        namespace() as wire,
        Cluster(here, HOST) as cluster,
        closing(PostgresServer()) as postgres,
    ):
        model = ("--model", "published", "--precision", "float32")
        folder = ("--gallery", str(out / "gallery"))
        if not (out / "gallery.tar").exists():
            album, people = choose(args.lfw, args.photos, out)
            timed(*FACEOPS, "enrol", people, *folder, *model)
            timed(*FACEOPS, "identify", album, *folder, *model, "--out", out / "alone")
            timed(*FACEOPS, "gallery", "export", out / "gallery.tar", *folder)
        expected = rows(out / "alone")
        database = postgres.address("archive")
        timed(*FACEOPS, "gallery", "import", out / "gallery.tar", "--gallery", database)
        cluster.serve_store()
        cluster.serve_prefect()
        world = World(cluster, postgres, wire)
        command = [sys.executable, "-m", "flows.identify", cluster.make_bucket(album), *model]
        command += ["--gallery", database, "--shard-photos", "32", "--shared", f"s3://{BUCKET}/s"]
        command += ["--dask", world.scheduler]
        print({name: len(there) for name, there in expected.items()})
        print("| what | exit codes | lost, doubled, different | messages |")
        print("| --- | --- | --- | --- |", flush=True)
        wrong = 0
        for name, row in wanted.items():
            world.move_workers(row.cut_off == WORKER)
            inside = world.inside if row.cut_off == DRIVER else []
            run = Run([*inside, *command], here / name, cluster.processes[DRIVER])
            run.wait_until(row.moment)
            row.fail(world)
            run.end(world.supervise)
            counts = compare(run.out, expected)
            wrong += sum(counts)
            told = "<br>".join(Counter(run.messages()))
            if tracebacks := run.said().count("Traceback"):
                told += f"<br>{tracebacks} tracebacks"
            codes = ", ".join(map(str, run.codes))
            print(f"| {row.name} | {codes} | {', '.join(map(str, counts))} | {told} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
