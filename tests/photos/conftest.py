"""Checks that run without the permissions of root."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def as_ordinary_user() -> Callable[[Path, Callable[[], bool]], bool]:
    """A function that runs a check in a folder; as root, in a child process without root's rights.

    Names in the check are relative to the folder: the folders above may be closed.
    """

    def run(folder: Path, check: Callable[[], bool]) -> bool:
        folder.chmod(0o755)
        child = os.fork()
        if child == 0:
            passed = False
            try:
                os.chdir(folder)
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                passed = check()
            finally:
                os._exit(0 if passed else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return run
