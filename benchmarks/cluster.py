"""The servers and workers of the identify flow on this machine, and photos of LFW for it.

As a program (`python -m benchmarks.cluster --host HOST --port PORT FILE`) an S3 server, moto's,
whose objects are still there when it was killed and is started again.
"""

import argparse
import csv
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType

import s3fs

from benchmarks import FACEOPS, timed

ENROLLED = 100  # people
SERVER_S = 300  # for a server to start
BUCKET = "archive"
PREFECT, SCHEDULER, STORE = "prefect", "distributed.cli.dask_scheduler", "benchmarks.cluster"
WORKER = "distributed.cli.dask_worker"
MODEL = ("--model", "published", "--precision", "float32")
Rows = dict[str, list[dict[str, str]]]  # by table


class Cluster:
    """Processes with logs in `folder`, which end with the block; servers listen at `host`.

    Attributes:
        processes: by module, in the order of their start.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.processes = defaultdict[str, list[subprocess.Popen[bytes]]](list)
        self._folder, self._host = folder, host
        self._served = dict[str, tuple[str, ...]]()  # arguments by module
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, ("src", ".")))
        os.environ["PREFECT_HOME"] = str(folder / "prefect")

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_error: type | BaseException | TracebackType | None) -> None:
        for process in (one for each in self.processes.values() for one in each):
            process.kill()
            process.wait()

    def log(self, module: str) -> Path:
        """Return the file with what the processes of a module print."""
        return self._folder / f"{module}.log"

    def start(self, module: str, *arguments: str, inside: Sequence[str] = ()) -> None:
        """Run a module; `inside` is a command that runs the command after it."""
        with self.log(module).open("ab") as log:
            command = [*inside, sys.executable, "-m", module, *arguments]
            process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        self.processes[module].append(process)

    def serve(self, module: str, *arguments: str) -> str:
        """Start a server, or start it again as before; return HOST:PORT when it listens."""
        with socket.socket() as free:
            free.bind((self._host, 0))
            place = ("--host", self._host, "--port", str(free.getsockname()[1]))
        arguments = self._served.setdefault(module, (*arguments, *place))
        self.start(module, *arguments)
        for _ in range(SERVER_S):
            try:
                with socket.create_connection((self._host, int(arguments[-1])), 1):
                    return f"{self._host}:{arguments[-1]}"
            except OSError:
                time.sleep(1)
        sys.exit(f"nothing listens on port {arguments[-1]} after {SERVER_S} s; see the logs")

    def serve_prefect(self) -> None:
        """Start Prefect's server, for this process and its children."""
        os.environ["PREFECT_API_URL"] = f"http://{self.serve(PREFECT, 'server', 'start')}/api"

    def serve_scheduler(self) -> str:
        """Start the scheduler of Dask; return its address."""
        return f"tcp://{self.serve(SCHEDULER, '--no-dashboard')}"

    def add_workers(self, address: str, count: int, inside: Sequence[str] = ()) -> None:
        """Start workers of one thread each."""
        options = (address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        for _ in range(count):
            self.start(WORKER, *options, inside=inside)

    def serve_store(self) -> None:
        """Start the S3 server, for this process and its children."""
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        address = self.serve(STORE, str(self._folder / "objects.jsonl"))
        os.environ["AWS_ENDPOINT_URL"] = f"http://{address}"

    def make_bucket(self, album: Path) -> str:
        """Return the URL of photos in a new bucket, copies of those in `album`."""
        store = s3fs.S3FileSystem()
        store.mkdir(BUCKET)
        store.put(f"{album}/", f"{BUCKET}/photos/", recursive=True)
        return f"s3://{BUCKET}/photos"

    def fetch(self, name: str, to: Path) -> Path:
        """Copy a folder of the bucket, if it is there, to `to`; return that."""
        with suppress(FileNotFoundError):
            s3fs.S3FileSystem().get(f"{BUCKET}/{name}/", f"{to}/", recursive=True)
        return to


def choose(lfw: Path, photos: int, out: Path) -> tuple[Path, Rows]:
    """Copy photos of LFW, enrol people in `out`/gallery, identify; what is there is kept.

    Returns the folder of photos, and the rows of `faceops identify` in one process.
    """
    album, people, alone = out / "album", out / "people", out / "alone"
    if not (alone / "faces.csv").is_file():
        found = sorted(lfw.glob("*/*.jpg"))[: photos + ENROLLED]
        firsts = [path for path in found if path.stem.endswith("_0001")][:ENROLLED]
        for path in firsts:
            (people / path.parent.name).mkdir(parents=True)
            shutil.copyfile(path, people / path.parent.name / path.name)
        album.mkdir()
        for path in [path for path in found if path not in set(firsts)][:photos]:
            shutil.copyfile(path, album / path.name)
        release = ("--gallery", out / "gallery", *MODEL)
        timed(*FACEOPS, "enrol", people, *release)
        timed(*FACEOPS, "identify", album, *release, "--out", alone)
    return album, rows(alone)


def copy_gallery(out: Path, database: str) -> None:
    """Copy the gallery that `choose` made into a database."""
    copy = out / "gallery.tar"
    copy.unlink(missing_ok=True)
    timed(*FACEOPS, "gallery", "export", copy, "--gallery", out / "gallery")
    timed(*FACEOPS, "gallery", "import", copy, "--gallery", database)


def rows(out: Path) -> Rows:
    """Return the rows of a run's tables without what differs from run to run."""
    tables = {}
    for name in ("faces.csv", "unknown.csv"):
        with (out / name).open(newline="", encoding="utf-8") as file:
            found = csv.DictReader(file)
            tables[name] = [{**row, "run_id": ""} for row in found]
    return tables


def main() -> None:
    """Serve the objects that the requests in FILE have made, and note further ones there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    os.environ |= {"MOTO_RECORDER_FILEPATH": str(args.file), "MOTO_ENABLE_RECORDING": "yes"}
    from moto.moto_api import recorder
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    store = DomainDispatcherApplication(create_backend_app)
    if args.file.is_file():
        lines = args.file.read_text("utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("}\n")]
        made = [line for line in whole if json.loads(line)["method"] not in ("GET", "HEAD")]
        args.file.write_text("".join(made), "utf-8")
        first = make_server(args.host, 0, store, threaded=True)
        Thread(target=first.serve_forever, daemon=True).start()
        recorder.replay_recording(f"http://{args.host}:{first.port}")
    make_server(args.host, args.port, store, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
