"""Work on many items at once, and take the results in the items' order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 8  # results that may wait for a slow one, a worker


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield `work(item)` for each item in order, computed by `workers` threads.

    Threads, because Pillow and ONNX Runtime let go of the interpreter while they work. Memory is
    bounded: only a few results a worker are ahead of the one that is taken. An error in `work` is
    raised where its result would have come; what has not begun is then dropped.
    """
    pool = ThreadPoolExecutor(max_workers=workers)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
