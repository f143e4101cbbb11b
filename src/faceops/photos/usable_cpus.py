"""How many processors this process may use."""

import os


def usable_cpus() -> int:
    """Return how many processors this process may use, 1 or more.

    Where the system does not tell what the process was confined to (macOS, Windows), all count.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
