"""How long each part of a run took, over all threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class PartClock:
    """Adds up seconds a part; safe to use from several threads, whose seconds are added."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done inside as the part `name`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - began
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + passed

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part so far, by name, rounded to milliseconds."""
        with self._lock:
            return {name: round(self._seconds[name], 3) for name in sorted(self._seconds)}
