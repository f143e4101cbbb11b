"""Speed and memory compared with the plain way or with another tool, as ratios."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

FACEOPS = (sys.executable, "-m", "faceops.cli")


class Timed(NamedTuple):
    """A finished command: wall time, peak memory of its largest process, stdout, wait status.

    `cpu_seconds` are those of the command and its children.
    """

    seconds: float
    peak_mib: float
    output: str
    status: int
    cpu_seconds: float


def timed(*command: str | Path, kill_after: float | None = None) -> Timed:
    """Run a command and measure it; exit if it fails.

    `kill_after` sends SIGKILL after that many seconds, which is no failure. Bytecode is cached as
    on a user's machine, whatever PYTHONDONTWRITEBYTECODE says.
    """
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    timer = threading.Timer(kill_after or 0, process.kill)
    if kill_after is not None:
        timer.start()
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    if status and (kill_after is None or status != signal.SIGKILL):
        sys.exit(f"{' '.join(map(str, command))} failed with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return Timed(time.monotonic() - started, usage.ru_maxrss / 1024, output, status, cpu)


def peak_mib() -> float:
    """Return the peak memory of this process, MiB.

    From Linux: `getrusage` would count that of the process that started this one.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
