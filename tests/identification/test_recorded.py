"""A run counts as recorded only when that very run was."""

from pathlib import Path

from faceops.identification.mlflow_run import is_recorded, mark_recorded


def test_only_the_run_that_was_noted_last_is_recorded(tmp_path: Path) -> None:
    assert not is_recorded(tmp_path, "one")
    mark_recorded(tmp_path, "one")
    assert is_recorded(tmp_path, "one")
    mark_recorded(tmp_path, "two")
    assert not is_recorded(tmp_path, "one")
