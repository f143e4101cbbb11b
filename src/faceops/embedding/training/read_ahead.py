"""Load the next batches while this one is computed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def read_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], depth: int = 2
) -> Generator[tuple[Item, Loaded], None, None]:
    """Yield each item with `load(item)`, in order; one thread loads up to `depth` items ahead.

    `items` are taken in the caller's thread, `depth` ahead of the one that is yielded, so a
    sampler that reads the state of training reads the same on each run. An exception of `load`
    is raised where its item would have been yielded. Closing the iterator ends the thread.
    """
    waiting: deque[tuple[Item, Future[Loaded]]] = deque()
    reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append((item, reader.submit(load, item)))
            if len(waiting) > depth:
                due, loading = waiting.popleft()
                yield due, loading.result()
        while waiting:
            due, loading = waiting.popleft()
            yield due, loading.result()
    finally:
        reader.shutdown(cancel_futures=True)
