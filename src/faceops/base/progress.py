"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

LOG_EVERY_S = 10.0


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
