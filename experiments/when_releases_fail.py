"""What happens when the registry, the disk or a process fails, for real, as a table.

python -m experiments.when_releases_fail --bundle DIR --people data/enrol --photos data/album

In a temporary folder: an MLflow server with two versions of the release (the second one's embedder
has noise of 2 %), a gallery, and one case after the other by the commands that users type. Each
line gives the exit code, what was said, and who is champion afterwards. Three minutes.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.altered_release import alter_release
from experiments.cron_twice import free_port
from faceops.base.errors import FaceOpsError

REGISTER = """
import sys, mlflow
from pathlib import Path
from faceops.release.registry.register import register
from faceops.release.registry.tracking import use_tracking
use_tracking(Path.cwd())
for bundle in sys.argv[1:]:
    with mlflow.start_run() as run:
        pass
    register(Path(bundle), run.info.run_id, bundle)
"""
# A process that dies right before or right after the alias moves.
KILLED = """
import os, signal, sys, mlflow
move = mlflow.MlflowClient.set_registered_model_alias
def dies(*arguments):
    if os.environ["DIES"] == "after":
        move(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
mlflow.MlflowClient.set_registered_model_alias = dies
from faceops.cli import main
sys.exit(main(sys.argv[1:]))
"""
SMALL = "import resource, os, sys; n = 2**20; resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); "
SMALL += "os.execvp(sys.argv[1], sys.argv[1:])"
CHAMPION = "import mlflow; print(mlflow.MlflowClient().get_registered_model('faceops').aliases)"


class Place:
    """A folder with a server's store, a cache, a gallery and the photos' results."""

    def __init__(self, folder: Path, people: Path, photos: Path) -> None:
        self.folder, self.people, self.photos = folder, people.resolve(), photos.resolve()
        self.port = free_port()
        self.environment = os.environ | {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.port}",
            "FACEOPS_CACHE": str(folder / "cache"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.server: subprocess.Popen[bytes] | None = None

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command here."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment | environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def start(self) -> None:
        """Start the server and wait for it."""
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        artifacts = ["--artifacts-destination", str(self.folder / "mlartifacts")]
        self.server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *artifacts, "--workers", "1",
             "--port", str(self.port)],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise FaceOpsError("the MLflow server did not start in two minutes.")

    def stop(self) -> None:
        """Stop the server."""
        if self.server is not None:
            os.killpg(self.server.pid, signal.SIGTERM)
            self.server.wait()
            self.server = None

    def holders(self) -> str:
        """Return who has which alias, in words."""
        if self.server is None:
            return "(away)"
        return self.run(sys.executable, "-c", CHAMPION).stdout.strip()

    def told(self, case: str, done: subprocess.CompletedProcess[str]) -> None:
        """Print a row."""
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = (lines or ["(nothing)"])[-1 if done.stderr else 0]
        said = said.replace(str(self.folder), "...").replace("|", "/")
        print(f"| {case} | {done.returncode} | {said} | {self.holders()} |", flush=True)

    def identify(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Name the people in the photos by the champion."""
        return self.run(
            "faceops", "identify", str(self.photos), "--gallery", "gallery", "--out", "found",
            **environment,
        )  # fmt: skip

    def bundle_files(self, name: str) -> list[Path]:
        """Return the files of that name in the store."""
        return sorted((self.folder / "mlartifacts").rglob(f"bundle/{name}"))


@contextmanager
def changed(*paths: Path) -> Iterator[None]:
    """Put the files back afterwards."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def cases(place: Place) -> None:
    """Play every case."""
    place.told("identification, all well", place.identify())
    place.stop()
    shutil.rmtree(place.folder / "found")
    place.told("registry unreachable", place.identify())
    summary = json.loads((place.folder / "found/summary.json").read_text())
    print(f"| its summary.json | | release_note: {summary['release_note']} | |")
    empty = str(place.folder / "empty")
    place.told("registry unreachable, nothing fetched before", place.identify(FACEOPS_CACHE=empty))
    place.start()
    disk = (sys.executable, "-c", SMALL, "faceops", "release", "export", "--out", "copy")
    place.told(
        "disk full while fetching (files of 1 MB at most)", place.run(*disk, FACEOPS_CACHE=empty)
    )
    half = list(Path(empty).rglob("*.onnx"))
    print(f"| what it left in the cache | | {half or 'nothing'} | |")

    (cached,) = (place.folder / "cache").rglob("embedder.onnx")
    cached.write_bytes(b"damaged")
    shutil.rmtree(place.folder / "found")
    place.told("bundle damaged in the cache", place.identify())
    model = place.bundle_files("verifier.onnx")
    with changed(*model):
        for path in model:
            path.write_bytes(b"damaged")
        place.told("bundle damaged in the store", place.run(
            "faceops", "release", "export", "--out", "copy", FACEOPS_CACHE=empty))  # fmt: skip
    tampered = place.bundle_files("release.json")
    with changed(*tampered):
        for path in tampered:
            path.write_text(
                path.read_text().replace('"runner_up_margin": 1.0', '"runner_up_margin": 0.0')
            )
        place.told("thresholds tampered with in the store", place.run(
            "faceops", "release", "export", "--out", "copy", FACEOPS_CACHE=empty))  # fmt: skip

    promote = ("release", "promote", "2", "--override", "to see it killed")
    for when in ("before", "after"):
        place.told(
            f"promotion killed right {when} the alias moves",
            place.run(sys.executable, "-c", KILLED, *promote, DIES=when),
        )
    place.told("rollback after that", place.run("faceops", "release", "rollback"))
    both = [
        subprocess.Popen(
            ["faceops", "release", "promote", "2", "--override", f"at once, {number}"],
            cwd=place.folder, env=place.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in (1, 2)
    ]  # fmt: skip
    for number, process in enumerate(both, start=1):
        out, error = process.communicate()
        done = subprocess.CompletedProcess(process.args, process.returncode, out, error)
        place.told(f"two promotions at once, number {number}", done)
    gone = (
        "import mlflow; mlflow.MlflowClient().delete_registered_model_alias('faceops', 'champion')"
    )
    place.run(sys.executable, "-c", gone)
    place.told("alias missing: identification", place.identify())
    place.told("alias missing: rollback", place.run("faceops", "release", "rollback"))


def main() -> int:
    """Make the place, play the cases, stop the server."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument("--people", type=Path, required=True, metavar="DIR")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Place(Path(temporary), args.people, args.photos)
        try:
            place.start()
            second = alter_release(args.bundle, place.folder / "second")
            made = place.run(
                sys.executable, "-c", REGISTER, str(args.bundle.resolve()), str(second)
            )
            enrolled = place.run("faceops", "enrol", str(place.people), "--gallery", "gallery")
            for done in (made, enrolled):
                if done.returncode:
                    raise FaceOpsError(done.stderr)
            print("| case | exit code | said | aliases after |\n| --- | --- | --- | --- |")
            cases(place)
        except FaceOpsError as error:
            print(f"when_releases_fail: {error}", file=sys.stderr)
            return error.exit_code
        finally:
            place.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
