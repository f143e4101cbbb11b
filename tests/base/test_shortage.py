"""Errors of libraries that mean a shortage become one sentence; the work is tried again alone."""

import errno
import sqlite3
import threading
from types import SimpleNamespace

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from faceops.base.errors import FaceOpsError, allowed_failures, shortage
from faceops.base.work import ordered_map
from faceops.cli import main
from faceops.stages import run_script

SHORTAGES = {  # as libraries raise them; and what is lacking
    "python": (MemoryError(), "memory"),
    "onnxruntime run": (
        runtime.Fail("Non-zero status code. Failed to allocate memory for requested buffer"),
        "memory",
    ),
    "onnxruntime load": (runtime.RuntimeException("initialization: std::bad_alloc"), "memory"),
    "libheif": (RuntimeError("Memory allocation error: Allocating 36 bytes failed"), "memory"),
    "jpeg 2000": (OSError("out of memory when reading image file"), "memory"),
    "torch": (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
    "dlopen": (ImportError("libx.so: failed to map segment from shared object"), "memory"),
    "the kernel": (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
    "threads": (RuntimeError("can't start new thread"), "threads"),
    "processes": (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "threads"),
    "files": (OSError(errno.EMFILE, "Too many open files"), "open files"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "disk space"),
    "sqlite": (sqlite3.OperationalError("database or disk is full"), "disk space"),
    "share": (OSError(errno.ESTALE, "Stale file handle"), "a working disk or share"),
}


@pytest.mark.parametrize("library", SHORTAGES)
def test_a_shortage_is_one_sentence_and_exit_code_1(library, monkeypatch, capsys):
    error, what = SHORTAGES[library]
    lack = shortage(error)
    assert lack is not None and str(lack).startswith(f"the machine lacks {what} (")
    assert shortage(lack) is lack

    def fails(*_: object) -> int:
        raise error

    parser = SimpleNamespace(parse_args=lambda _: SimpleNamespace(command="weights", run=fails))
    monkeypatch.setattr("faceops.cli.build_parser", lambda: parser)
    assert main(["weights"]) == 1
    with pytest.raises(SystemExit) as ended:
        run_script(fails, "interrupted")
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"faceops weights: {lack}\nerror: {lack}\n"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a wrong shape"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        OSError("broken data stream when reading image file"),
        FaceOpsError("out of memory"),  # has its sentence
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_no_shortage(error):
    assert shortage(error) is None


def test_what_fails_for_lack_of_memory_is_tried_again_while_nothing_else_is_worked_on():
    working, beside, lock = set(), {}, threading.Lock()
    all_busy = threading.Barrier(2)

    def work(item: int) -> int:
        with lock:
            working.add(item)
        try:
            if item < 3:
                all_busy.wait(10)
            if item % 3 == 0:
                raise MemoryError
            return item
        finally:
            with lock:
                working.discard(item)

    def alone(item: int) -> int:
        beside[item] = set(working)
        return -item

    results = list(ordered_map(work, range(1, 31), 3, alone))
    assert results == [-item if item % 3 == 0 else item for item in range(1, 31)]
    assert beside == {item: set() for item in range(3, 31, 3)}
    with pytest.raises(MemoryError):  # without another way, the same work is tried twice
        list(ordered_map(work, [3], 1))


def test_a_few_photos_may_fail_but_never_all():
    limits = {total: allowed_failures(total, 0.1) for total in (0, 1, 3, 12, 50, 1000)}
    assert limits == {0: 0, 1: 0, 3: 2, 12: 4, 50: 5, 1000: 100}
    assert allowed_failures(1000, 1) == 1000
    assert allowed_failures(12, 0) == 4
