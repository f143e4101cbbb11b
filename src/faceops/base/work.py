"""Work on many items: the devices, CPUs and threads for it, its progress, the time it takes."""

import math
import mmap
import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, TypeVar, get_args

from tqdm import tqdm

from faceops.base.errors import shortage

Device = Literal["cpu", "cuda"]
DeviceChoice = Literal["auto", "cpu", "cuda"]  # auto: cuda where it can be used
DEVICE_CHOICES: tuple[DeviceChoice, ...] = get_args(DeviceChoice)
CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Return how many CPUs this process may use, 1 or more.

    `os.cpu_count()` would count all CPUs of the machine, also in a container limited to two.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(cpus, *_cgroup_limits())))


def _cgroup_limits() -> list[float]:
    """Return the CPU limits of this process's cgroup and of those above it; [inf] for none."""
    limits = [math.inf]
    for line in _read(OWN_CGROUP).splitlines():
        if line.startswith("0::"):  # version 2: "0::/path"
            folder = CGROUP / line[3:].lstrip("/")
            for place in (folder, *folder.parents):
                if place.is_relative_to(CGROUP):
                    limits.append(_limit(_read(place / "cpu.max")))
    quota, period = (_read(CGROUP / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return [*limits, _limit(f"{quota} {period}")]  # version 1, as containers mount it


def _limit(text: str) -> float:
    """Return quota / period of "QUOTA PERIOD"; infinite for "max", -1 and other texts."""
    try:
        quota, period = map(float, text.split())
    except ValueError:
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


MAX_DEFAULT_THREADS = 8


def default_threads() -> int:
    """Return the number of threads that open photos: one per CPU, at most MAX_DEFAULT_THREADS."""
    return min(MAX_DEFAULT_THREADS, usable_cpus())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


Item = TypeVar("Item")
Result = TypeVar("Result")

_THREAD_BYTES = 32 << 20  # of address space: a thread's stack, and more
_AHEAD = 8  # results per worker that may wait for a slow one


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    alone: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item in order, computed by `workers` threads.

    Threads, because Pillow and ONNX Runtime release the GIL. Memory is bounded: at most eight
    results per worker are computed ahead of the one that is yielded. An error in `work` is
    raised in the place of its result; items not yet started are then dropped. If the machine ran
    short of memory or the like, see `shortage`, the item is worked on once more while no other one
    is: by `alone`, or else by `work`.
    """

    def attempt(item: Item) -> list[Result]:
        try:
            return [work(item)]
        except Exception as error:
            if shortage(error) is None:
                raise
            return []  # the error is not kept: its frames hold what was in memory

    def next_result() -> Result:
        item, future = waiting.popleft()
        if found := future.result():
            return found[0]
        wait(other for _, other in waiting)
        return (alone or work)(item)

    pool = ThreadPoolExecutor(max_workers=workers)
    waiting: deque[tuple[Item, Future[list[Result]]]] = deque()
    try:
        for number, item in enumerate(items):
            if number < workers:
                # An OSError (ENOMEM) if there is no memory for another thread: Python may wait
                # forever for one that cannot start, and Arrow abort. No page is touched.
                mmap.mmap(-1, _THREAD_BYTES).close()
            waiting.append((item, pool.submit(attempt, item)))
            if len(waiting) > _AHEAD * workers:
                yield next_result()
        while waiting:
            yield next_result()
    finally:
        pool.shutdown(cancel_futures=True)


LOG_EVERY_S = 10.0

# The work and its finished share, 0 to 1.
Listener = Callable[[str, float], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def progress_to(listener: Listener) -> Iterator[None]:
    """Report to `listener` the progress of all work with a known total, in this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def track(
    items: Iterable[Item],
    what: str,
    total: int | None = None,
    after_s: float = 0,
    size: Callable[[Item], int] = lambda item: 1,
) -> Generator[Item, None, None]:
    """Yield `items`, showing the progress of the work named `what` on stderr.

    On a terminal the bar appears after `after_s` seconds, in a log a line each ten. An item counts
    for `size` of `total`.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    listener, is_terminal = _listener.get(), sys.stderr.isatty()
    start = last = time.monotonic()
    count = 0
    with (
        tqdm(desc=what, total=total, leave=False, dynamic_ncols=True, delay=after_s)
        if is_terminal
        else nullcontext()  # making a bar starts a thread, even if it is disabled
    ) as bar:
        for item in items:
            yield item
            count += size(item)
            if bar is not None:
                bar.update(size(item))
            if listener and total:
                listener(what, min(count / total, 1.0))
            now = time.monotonic()
            if not is_terminal and now - last >= LOG_EVERY_S:
                last = now
                of = f"/{total}" if total else ""
                rate = f"{count / (now - start):.1f}/s"
                print(f"{what}: {count}{of} ({rate})", file=sys.stderr, flush=True)
    if not is_terminal and (took := time.monotonic() - start) >= LOG_EVERY_S:
        print(f"{what}: {count} done in {took:.0f} s", file=sys.stderr, flush=True)


class Timer:
    """Adds up the seconds of each part of the work, over all threads."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] += time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part so far, by name, rounded to milliseconds."""
        with self._lock:
            return {name: round(self._seconds[name], 3) for name in sorted(self._seconds)}
