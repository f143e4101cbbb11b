"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

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
    items: Iterable[T],
    what: str,
    total: int | None = None,
    after_s: float = 0,
    size: Callable[[T], int] = lambda item: 1,
) -> Iterator[T]:
    """Yield `items`, showing the progress of the work named `what` on stderr.

    On a terminal the bar appears after `after_s` seconds, in a log a line each ten. An item counts
    for `size` of `total`.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if (listener := _listener.get()) is not None and total:
        items = _reported(items, what, total, size, listener)
    if sys.stderr.isatty():
        with tqdm(desc=what, total=total, leave=False, dynamic_ncols=True, delay=after_s) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    start = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += size(item)
        now = time.monotonic()
        if now - last >= LOG_EVERY_S:
            last = now
            of = f"/{total}" if total else ""
            rate = count / (now - start)
            print(f"{what}: {count}{of} ({rate:.1f}/s)", file=sys.stderr, flush=True)
    if time.monotonic() - start >= LOG_EVERY_S:
        print(
            f"{what}: {count} done in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True
        )


def _reported(
    items: Iterable[T], what: str, total: int, size: Callable[[T], int], listener: Listener
) -> Iterator[T]:
    count = 0
    for item in items:
        yield item
        count += size(item)
        listener(what, min(count / total, 1.0))
