"""Start the servers, wait until they answer, stop them again: these processes and no others."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from faceops.base.errors import FaceOpsError
from faceops.base.locks import folder_lock
from faceops.base.progress import track
from flows.servers.definition import HOST, SERVERS_FOLDER, Server
from flows.servers.port_holder import holder_of, port_is_free
from flows.servers.process_record import ProcessRecord

# Two servers at their first start, on a small and busy machine, make their databases meanwhile.
_START_S = 240.0
_STOP_S = 20.0


def record_file(root: Path, name: str) -> Path:
    """Return where the PID file of the server `name` lies."""
    return root / SERVERS_FOLDER / f"{name}.json"


def log_file(root: Path, name: str) -> Path:
    """Return where the server `name` writes what it says."""
    return root / SERVERS_FOLDER / f"{name}.log"


def running(root: Path, server: Server) -> ProcessRecord | None:
    """Return the record of `server` if it was started from `root` and still lives."""
    record = ProcessRecord.read(record_file(root, server.name))
    return record if record and record.process() else None


def answers(base: str, health: str) -> bool:
    """Whether a server says at `base` that it is well."""
    try:
        with urllib.request.urlopen(f"{base}{health}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start_servers(root: Path, servers: list[Server]) -> list[str]:
    """Start those of `servers` that do not run, and return their names once all answer.

    When one does not come up, those that this call started are stopped again.

    Raises:
        FaceOpsError: a port is taken, a server ended or did not answer in time, or another
            process is just starting or stopping them.
    """
    with folder_lock(root / SERVERS_FOLDER):
        missing = [server for server in servers if running(root, server) is None]
        for server in missing:
            if not port_is_free(HOST, server.port):
                raise FaceOpsError(
                    f"port {server.port} for {server.title} is taken by {holder_of(server.port)};"
                    f" stop that, or choose another: {server.port_variable}=PORT make up."
                )
        try:
            for server in missing:
                _start(root, server)
                print(f"starting {server.title}; its log: {log_file(root, server.name)}")
            _wait(root, servers)
        except BaseException:
            for server in missing:
                _stop(root, server)
            raise
        return [server.name for server in missing]


def stop_servers(root: Path, servers: list[Server]) -> list[str]:
    """Stop those of `servers` that run, and return their names; the others' PID files go.

    Raises:
        FaceOpsError: another process is just starting or stopping them.
    """
    if not (root / SERVERS_FOLDER).is_dir():
        return []
    with folder_lock(root / SERVERS_FOLDER):
        return [server.name for server in servers if _stop(root, server)]


def _start(root: Path, server: Server) -> None:
    with log_file(root, server.name).open("wb") as log:
        process = subprocess.Popen(
            server.command,
            cwd=root,
            env=dict(server.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it stays when the terminal is closed, or Ctrl-C pressed
        )
    record = ProcessRecord.of(process.pid, server.command, server.base)
    record.write(record_file(root, server.name))


def _wait(root: Path, servers: list[Server]) -> None:
    waiting = list(servers)
    for _ in track(_seconds(), f"seconds for {' and '.join(s.title for s in servers)} to answer"):
        for server in list(waiting):
            # In this order: what answers might be another's server, had ours ended.
            record = running(root, server)
            if record is None:
                log = log_file(root, server.name)
                said = log.read_text("utf-8", "replace").strip() if log.is_file() else ""
                last = said.splitlines()[-1].strip() if said else "it said nothing"
                raise FaceOpsError(f"{server.title} ended while it started ({last}); see {log}.")
            if answers(record.base, server.health):
                waiting.remove(server)
        if not waiting:
            return
    log = log_file(root, waiting[0].name)
    raise FaceOpsError(f"{waiting[0].title} did not answer in {_START_S:g} s; see {log}.")


def _seconds() -> Iterator[None]:
    began = time.monotonic()
    while time.monotonic() - began < _START_S:
        yield
        time.sleep(1)


def _stop(root: Path, server: Server) -> bool:
    path = record_file(root, server.name)
    record = ProcessRecord.read(path)
    process = record.process() if record else None
    if process is not None:
        # psutil holds each one's start time too: an id that passes to a stranger is left alone.
        try:
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        print(f"stopping {server.title} (pid {process.pid})", flush=True)
        for one in family:
            _signal(one, "terminate")
        _, alive = psutil.wait_procs(family, timeout=_STOP_S)
        for one in alive:
            _signal(one, "kill")
        psutil.wait_procs(alive, timeout=_STOP_S)
    path.unlink(missing_ok=True)
    return process is not None


def _signal(process: psutil.Process, how: str) -> None:
    with suppress(psutil.NoSuchProcess):
        getattr(process, how)()
