"""Speed and memory compared with the plain way or with another tool, as ratios."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FACEOPS = (sys.executable, "-m", "faceops.cli")


class Timed(NamedTuple):
    """What a finished command printed and took.

    `cpu_seconds` are those of the command and its children, `peak_mib` is the peak memory of the
    largest process of these.
    """

    seconds: float
    peak_mib: float
    output: str
    cpu_seconds: float


def timed(*command: str | Path) -> Timed:
    """Run a command and measure it; exit if it fails.

    Bytecode is cached as on a user's machine, whatever PYTHONDONTWRITEBYTECODE says.
    """
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return Timed(time.monotonic() - started, usage.ru_maxrss / 1024, output, cpu)


def output(*command: str | Path) -> str:
    """Return what a command prints, or exit with the end of its messages."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        text = (done.stdout + done.stderr)[-3000:]
        sys.exit(f"{command[0]} {command[1]} failed with status {done.returncode}:\n{text}")
    return done.stdout


def peak_mib() -> float:
    """Return the peak memory of this process, MiB.

    From Linux: `getrusage` would count that of the process that started this one.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
