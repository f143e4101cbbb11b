"""A PID file that cannot be mistaken: it also holds when the process began, and as what."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from faceops.base.files import write_json

# Start times are counted from the boot, which is known to a second.
_SAME_START_S = 2.0


@dataclass(frozen=True)
class ProcessRecord:
    """A process that we started: its id, command line, start (seconds since 1970) and address."""

    pid: int
    started: float
    command: list[str]
    base: str

    @classmethod
    def of(cls, pid: int, command: tuple[str, ...], base: str) -> "ProcessRecord":
        """Return the record of the process `pid`, just started as `command`."""
        return cls(pid, psutil.Process(pid).create_time(), list(command), base)

    @classmethod
    def read(cls, path: Path) -> "ProcessRecord | None":
        """Return the record in `path`; None when there is none, or it is not one of ours."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                int(content["pid"]),
                float(content["started"]),
                [str(word) for word in content["command"]],
                str(content["base"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the record to `path`, whole or not at all."""
        write_json(path, asdict(self))

    def process(self) -> psutil.Process | None:
        """Return the process while it lives; None when it ended or its id is another's by now."""
        try:
            process = psutil.Process(self.pid)
            # The first word may be rewritten: a virtual environment's Python starts another. On
            # Linux a process that is just being started has no command line yet.
            command = process.cmdline()
            same_command = not command or command[1:] == self.command[1:]
            same_start = abs(process.create_time() - self.started) <= _SAME_START_S
        except psutil.Error:
            return None
        return process if same_command and same_start else None
