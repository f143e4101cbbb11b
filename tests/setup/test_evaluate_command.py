"""`faceops evaluate` says when it was called wrongly."""

from pathlib import Path

import pytest

from faceops.cli import main


def test_a_bundle_that_is_no_folder_is_a_mistake_of_the_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--bundle", str(tmp_path / "nope")]) == 2
    assert "nope is not a folder" in capsys.readouterr().err
