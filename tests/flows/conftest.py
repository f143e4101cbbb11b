"""A Prefect server for the tests of flows."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.identification.conftest import known_photos, out  # noqa: F401  fixtures
from tests.prefect_server import PrefectServer


@pytest.fixture
def prefect_server(prefect_process: PrefectServer) -> Iterator[str]:
    """The address of a Prefect server; it runs during a test."""
    with prefect_process.running() as address:
        yield address


@pytest.fixture
def prefect_home(prefect_process: PrefectServer, tmp_path: Path) -> Path:
    """A PREFECT_HOME of this test's own: making the tables takes seven CPU seconds, a copy none."""
    home = tmp_path / "prefect"
    home.mkdir()
    shutil.copy(prefect_process.home / "empty.db", home / "prefect.db")
    return home
