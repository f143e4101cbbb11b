"""Find the faces of a run on the workers of a Dask cluster, each shard a task of Prefect.

The workers need this version of faceops with the extra `dask`, the photos under the same path, the
release, and the place for the results; not this repository. The driver takes results in as they
come. A worker that dies loses its shard alone: Dask gives it to another one.
"""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

import faceops
from faceops.base.errors import FaceOpsError, allowed_failures
from faceops.base.files import folder_lock
from faceops.base.stores import is_url
from faceops.base.work import LOG_EVERY_S
from faceops.cli.model_choice import load_release
from faceops.identification.engine.shards import (
    ReleaseSource,
    Shard,
    ShardJob,
    ShardRun,
    check_worker,
    extract_to_place,
    noted_place,
    open_place,
    versions,
)
from faceops.identification.inputs import IdentifySettings, PhotoList
from faceops.identification.records.output_folder import STATE_FILE
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.schema import method_of
from faceops.registry import PUBLISHED
from faceops.release.bundle import Bundle
from flows.sharding import Sharding

CONNECT_S = 20
CHECK_S = 600  # for a worker to fetch and load the release
NO_WORKER_S = 60
_AHEAD = 3  # shards per thread of the workers that are submitted

# The workers get the task by value: they do not have the folder `flows`.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, task_run_name="shard {number}")
def find_faces_on_worker(number: int, work: Callable[[], str]) -> None:
    """Work on one shard; retried, as a network share may be back by then."""
    get_run_logger().info("shard %d: %s", number, work())


@flow(name="identify")
def _on_worker() -> None:
    """Stand for the run's flow on the workers, which would be sent all that it refers to."""


def extract_on_dask(
    photos: PhotoList, bundle: Bundle, out: Path, settings: IdentifySettings, sharding: Sharding
) -> None:
    """Store the faces of `photos` in the state of `out`.

    Photos that workers could not read are left to the run that follows.

    Raises:
        FaceOpsError: the scheduler does not answer, has no workers any more, or was restarted; a
            worker cannot work on this run; too many shards failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    shared = sharding.shared if is_url(sharding.shared) else str(Path(sharding.shared).resolve())
    method = method_of(bundle.release, settings.detail)
    if noted_place(out):
        get_run_logger().warning("the latest run was cut off: this one continues it")
    with (
        folder_lock(out),
        closing(FaceStore(out / STATE_FILE, method, settings.limits)) as store,
        _connected(sharding.dask) as runner,
        open_place(shared, out) as place,
    ):
        job = ShardJob(_source_of(bundle), settings, str(photos.root), place, versions())
        run = ShardRun(job, photos, store, sharding.photos)
        if not len(run):
            return
        with runner.client.as_current():
            _Shards(run, runner.client, partial(_submit, runner)).work_off()


def _submit(runner: Any, given: dict[str, Any]) -> Any:
    """Return the future of Dask for the task of a shard."""
    context = FlowRunContext.get()
    less = {"flow": _on_worker, "parameters": {}}
    with context.model_copy(update=less) if context else nullcontext():
        return runner.submit(find_faces_on_worker, given).wrapped_future


def _source_of(bundle: Bundle) -> ReleaseSource:
    """Return where a worker finds the release."""
    is_fetched = bundle.name == PUBLISHED or bundle.name.startswith("models:")
    folder = None if is_fetched else bundle.folder.resolve()
    precision, contract_id = bundle.release.precision, bundle.release.contract_id
    return ReleaseSource(load_release, folder, bundle.name, precision, contract_id)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Yield the task runner of a cluster, connected."""
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise FaceOpsError("--dask needs Dask: pip install 'faceops[dask]'.") from None
    for name in ("distributed", "distributed.client"):  # errors are told by what follows
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with DaskTaskRunner(address=address, client_kwargs={"timeout": CONNECT_S}) as runner:
        try:
            runner.client  # noqa: B018  connects
        except (OSError, ValueError) as error:
            raise FaceOpsError(
                f"no Dask scheduler answers at {address} ({error or type(error).__name__}); start "
                "one with `dask scheduler`, or run it without --dask."
            ) from None
        yield runner


class _Shards:
    """The shards of a run at the scheduler; see `work_off`."""

    def __init__(self, run: ShardRun, client: Any, submit: Callable[[dict[str, Any]], Any]) -> None:
        self._run, self._client, self._submit = run, client, submit
        self._address = client.scheduler.address
        self._logger = get_run_logger()
        self._allowed = allowed_failures(len(run), run.job.settings.max_failed_share)
        self._known = set[str]()  # workers
        self._running: dict[Any, Shard] = {}
        self._failures: dict[int, str] = {}
        self._done = self._photos = 0
        self._told = time.monotonic()

    def work_off(self) -> None:
        """Submit all shards, a few at a time, and take in what comes."""
        from distributed import CancelledError
        from distributed.client import ClosedClientError

        try:
            self._work_off()
        except (CancelledError, ClosedClientError):  # by the client, which lost its connection
            raise self._without_scheduler() from None

    def _work_off(self) -> None:
        threads = self._check_workers()
        waiting = deque(range(len(self._run)))
        while waiting or self._running:
            if waiting and len(self._running) < _AHEAD * threads:
                shard = self._run.shard(waiting.popleft())
                if self._run.take_in(shard):  # a run that was cut off had it done
                    self._count(shard)
                    continue
                work = partial(extract_to_place, self._run.job, shard)
                given = {"number": shard.number + 1, "work": work}
                self._running[self._submit(given)] = shard
                continue
            for future in self._finished():
                shard = self._running.pop(future)
                failure = _failure_of(future)
                if not failure and not self._run.take_in(shard):
                    failure = "its file is damaged, or somebody removed it."
                self._count(shard, failure)
            threads = sum(self._workers().values()) or threads

    def _check_workers(self) -> int:
        """Let each worker load the release; return the number of their threads."""
        if not self._workers():
            self._logger.warning("the Dask scheduler has no workers: waiting for one")
            try:
                self._client.wait_for_workers(1, timeout=NO_WORKER_S)
            except TimeoutError:
                raise self._without_workers() from None
        threads, job = self._workers(), self._run.job
        checks = {
            worker: self._client.submit(check_worker, job, workers=[worker], pure=False)
            for worker in threads
        }
        for worker, check in checks.items():
            try:
                error = check.exception(timeout=CHECK_S)
            except TimeoutError:
                error = FaceOpsError(f"it did not load the release in {CHECK_S} s.")
            if error is not None:
                raise FaceOpsError(f"the Dask worker {worker} cannot work on this: {_text(error)}")
        self._logger.info(
            "%d new photos in %d shards, for %d workers with %d threads",
            *(self._run.photos, len(self._run), len(threads), sum(threads.values())),
        )
        return sum(threads.values())

    def _finished(self) -> Iterator[Any]:
        """Yield the futures that have ended; waits for the first one."""
        from distributed import wait

        silent_since = time.monotonic()
        while True:
            try:
                yield from wait(list(self._running), LOG_EVERY_S, "FIRST_COMPLETED").done
                return
            except TimeoutError:
                if self._workers():
                    silent_since = time.monotonic()
                elif time.monotonic() - silent_since > NO_WORKER_S:
                    raise self._without_workers() from None

    def _workers(self) -> dict[str, int]:
        """Return the number of threads of each worker; tell who has gone since the last call."""
        if self._client.scheduler is None:  # it has tried to connect again, in vain
            raise self._without_scheduler()
        try:
            threads: dict[str, int] = self._client.nthreads()
        except OSError:
            raise self._without_scheduler() from None
        for worker in sorted(self._known - threads.keys()) if threads else ():
            text = "the Dask worker %s has gone: its shards go to other workers"
            self._logger.warning(text, worker)
        self._known = set(threads)
        return threads

    def _without_scheduler(self) -> FaceOpsError:
        return FaceOpsError(
            f"the Dask scheduler at {self._address} has gone away, was started anew, or cannot be "
            "reached. What is done is kept: run it again to continue."
        )

    def _without_workers(self) -> FaceOpsError:
        return FaceOpsError(
            f"the Dask scheduler at {self._address} has had no workers for {NO_WORKER_S} s; start "
            f"some with `dask worker {self._address}`, and run it again to continue."
        )

    def _count(self, shard: Shard, failure: str = "") -> None:
        self._done += 1
        self._photos += len(shard)
        if failure:
            self._failures[shard.number + 1] = failure
            self._logger.warning("shard %d failed: %s", shard.number + 1, failure)
        if len(self._failures) > self._allowed:
            raise FaceOpsError(
                f"{len(self._failures)} of {len(self._run)} shards failed, such as {failure} What "
                "is done is kept: remove the cause, and run it again to continue."
            )
        now = time.monotonic()
        if now - self._told >= LOG_EVERY_S or self._done == len(self._run):
            self._told = now
            self._logger.info(
                "%d of %d shards, %d of %d photos",
                *(self._done, len(self._run), self._photos, self._run.photos),
            )


def _failure_of(future: Any) -> str:
    """Return why the task of a future that has ended failed, "" if it did not."""
    error = future.exception()  # of Dask: the task killed several workers, say
    if error is None:
        state = future.result()
        error = state.result(raise_on_failure=False, _sync=True) if state.is_failed() else None
    return "" if error is None else _text(error)


def _text(error: BaseException) -> str:
    """Return the error as a sentence."""
    if isinstance(error, FaceOpsError):
        return str(error)
    if isinstance(error, ImportError):
        return f"{error}; install faceops[dask] {faceops.__version__} there, as here."
    return f"{type(error).__name__}: {error}."
