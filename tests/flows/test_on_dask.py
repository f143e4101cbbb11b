"""Shards on the workers of a Dask cluster: nothing is lost or doubled, whatever is killed."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.store import Gallery
from faceops.identification.engine.shards import PLACE_FILE, ShardJob, ShardRun, versions
from faceops.identification.inputs import IdentifySettings, PhotoList
from faceops.identification.run import identify
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.schema import method_of
from tests.http_server import free_port
from tests.identification.conftest import count, rows_of

pytestmark = pytest.mark.slow
SETTINGS = IdentifySettings(detail=0)


class Cluster:
    """A scheduler and workers, each a process that stops with the test."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{what}{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *options, "--no-dashboard"],
                cwd=self._folder,  # without the folder flows/
                env=os.environ | {"PREFECT_HOME": str(self._folder / "prefect")},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler; it listens when this returns."""
        process = self._start("scheduler", "--host", "127.0.0.1", "--port", str(self._port))
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return process
            time.sleep(0.5)
        pytest.fail("the scheduler did not start")

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one thread and one process."""
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny")

    def stop(self) -> None:
        """Kill everything."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    started = Cluster(tmp_path / "cluster")
    yield started
    started.stop()


@contextmanager
def killed_when(process: subprocess.Popen[bytes], is_time: Callable[[], bool]) -> Iterator[None]:
    """Kill a process as soon as it is time, while the block runs."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.1):
            if is_time():
                os.kill(process.pid, signal.SIGKILL)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
        assert not thread.is_alive(), "it was not killed"
    finally:
        is_over.set()
        thread.join()


def photos_in(out: Path) -> int:
    """Return the number of photos that were taken in."""
    with suppress(sqlite3.OperationalError):  # the tables are being made
        return count(out, "files") if (out / "state.sqlite").is_file() else 0
    return 0


def test_scheduler_and_worker_are_killed_and_no_row_is_lost_or_doubled(
    synthetic_set, bundle, gallery_dir, cluster, prefect_server, tmp_path
):
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    from flows.identify import identify_folder
    from flows.sharding import Sharding

    photos, alone, out, shared = (tmp_path / name for name in ("photos", "alone", "out", "shared"))
    for person in sorted((synthetic_set / "photos").iterdir())[:16]:
        shutil.copytree(person, photos / person.name)  # 64 photos; with the odd ones three shards
    shutil.copytree(synthetic_set / "album" / "odd", photos / "odd")

    def run() -> None:
        identify_folder(
            *(str(photos), str(gallery_dir), str(out), str(bundle.folder), SETTINGS),
            Sharding(32, cluster.address, str(shared)),
        )

    with temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_HOME: tmp_path / "prefect"}):
        scheduler, first = cluster.scheduler(), cluster.worker()
        with (
            killed_when(scheduler, lambda: photos_in(out) > 0),
            pytest.raises(FaceOpsError, match=r"the Dask scheduler at .* has gone away"),
        ):
            run()
        first.kill()
        done = photos_in(out)
        assert 0 < done < 64
        assert (out / PLACE_FILE).is_file()
        cluster.scheduler()
        killed, _ = cluster.worker(), cluster.worker()
        with killed_when(killed, lambda: photos_in(out) > done or any(shared.glob("*/*.sqlite"))):
            run()
    identify(photos, Gallery.open(gallery_dir), bundle, alone, SETTINGS)
    assert rows_of(alone) == rows_of(out)
    assert not list(shared.iterdir()) and not (out / PLACE_FILE).exists()


def test_a_scheduler_that_stays_away_is_one_sentence(cluster, bundle, tmp_path):
    from distributed import Client
    from prefect.logging import disable_run_logger

    from flows.on_dask import _Shards, _source_of

    scheduler = cluster.scheduler()
    job = ShardJob(_source_of(bundle), SETTINGS, str(tmp_path), str(tmp_path), versions())
    method, photos = method_of(bundle.release, 0), PhotoList(tmp_path, [], {})
    with (
        closing(FaceStore(tmp_path / "state.sqlite", method, SETTINGS.limits)) as store,
        Client(cluster.address, timeout=1, set_as_default=False) as client,
        disable_run_logger(),
    ):
        run = ShardRun(job, photos, store, 32)
        shards = _Shards(run, client, lambda given: client.submit(time.sleep, 60))
        scheduler.kill()
        for _ in range(600):
            if client.status == "closed":  # it has tried to connect again, in vain
                break
            time.sleep(0.1)
        with pytest.raises(FaceOpsError, match=r"or cannot be reached. What is done is kept"):
            shards.work_off()


def test_a_wrong_cluster_is_one_sentence(tmp_path, monkeypatch):
    from flows import on_dask

    monkeypatch.setattr(on_dask, "CONNECT_S", 2)
    with (
        pytest.raises(FaceOpsError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "),
        on_dask._connected("tcp://127.0.0.1:1"),
    ):
        pass
    with pytest.raises(UsageError, match="--dask and --shared go together"):
        on_dask.Sharding(dask="tcp://127.0.0.1:1").require()
    with pytest.raises(UsageError, match="--dask needs a Prefect server"):
        on_dask.Sharding(dask="tcp://127.0.0.1:1", shared=str(tmp_path)).require()
