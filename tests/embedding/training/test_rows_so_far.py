"""Rows of a killed pass are taken for good only where they were flushed and counted."""

from pathlib import Path

import numpy as np
import pytest

from faceops.embedding.training import feature_cache as rows_so_far
from faceops.embedding.training.feature_cache import RowsSoFar

SHAPE = (70, 1, 3)


@pytest.fixture(autouse=True)
def saved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_so_far, "SAVED_EVERY_S", -1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of an array of which a killed run has filled 32 rows."""
    killed = RowsSoFar(tmp_path / "features.npy", SHAPE)
    killed.rows[:32] = 1
    killed.reached(32)
    return tmp_path / "features.npy"


def test_what_was_counted_is_there(path: Path) -> None:
    kept = RowsSoFar(path, SHAPE)
    assert kept.done == 32
    kept.rows[32:] = 2
    kept.finish()
    assert [file.name for file in path.parent.iterdir()] == ["features.npy"]
    assert np.load(path)[:, 0, 0].tolist() == [1] * 32 + [2] * 38


@pytest.mark.parametrize("count", ["", "x", "-3", "71", "3.5", "\u00e9"])
def test_a_count_that_does_not_fit_is_none(path: Path, count: str) -> None:
    path.with_suffix(".count").write_text(count, encoding="utf-8")
    assert RowsSoFar(path, SHAPE).done == 0
    assert not path.with_suffix(".count").exists()


@pytest.mark.parametrize("broken", ["absent", "empty", "another shape", "another type"])
def test_a_count_of_rows_that_are_not_there_is_forgotten(path: Path, broken: str) -> None:
    making = path.with_suffix(".tmp")
    making.unlink()
    if broken == "empty":
        making.touch()
    if broken.startswith("another"):
        shape, kind = ((70, 2, 3), np.float16) if broken == "another shape" else (SHAPE, np.float32)
        np.lib.format.open_memmap(making, "w+", kind, shape)
    assert RowsSoFar(path, SHAPE).done == 0
    # Killed again before it counts, nothing is taken for good the next time either.
    assert RowsSoFar(path, SHAPE).done == 0


def test_the_last_batch_counts_no_more_rows_than_there_are(path: Path) -> None:
    kept = RowsSoFar(path, SHAPE)
    kept.reached(96)
    assert RowsSoFar(path, SHAPE).done == 70
