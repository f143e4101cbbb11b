"""`faceops evaluate`: figures as a table, and wrong calls."""

from pathlib import Path

import pytest

from faceops.cli import main
from faceops.cli.evaluate import figures_table

GROUP = {
    "people": 3, "tar": 0.5, "tar_interval": {"low": 0.25, "high": 0.75},
    "tar_supported": False, "too_small": "3 people",
}  # fmt: skip
FIGURES = {
    "people": 2,
    "closed_set": {"rank_1": 0.5, "rank_1_interval": {"low": 0.1, "high": 0.9}, "reason": ""},
    "robustness": [
        {"alteration": "unaltered", "tar": 1.0, "far": 0.001},
        {"alteration": "blur", "tar": 0.0004, "far": 0.001},
    ],
    "slices": {"age": {"old": GROUP, "young": GROUP | {"too_small": ""}}, "worst": {"tar": None}},
}


def cells(lines: list[str]) -> dict[str, list[str]]:
    """Return the cells of each row by its name."""
    return {line.split()[0]: line.split()[1:] for line in lines if line}


def test_a_figure_is_a_row_with_its_interval_and_words_are_notes_below() -> None:
    lines = figures_table(["here"], [FIGURES])
    rows = cells(lines)
    assert rows["here"] == []
    assert rows["closed_set.rank_1"] == ["0.5000", "(0.1000", "to", "0.9000)"]
    assert rows["robustness.blur.tar"] == ["0.0004"]
    assert rows["slices.age.young.tar"] == ["0.5000", "(0.2500", "to", "0.7500)"]
    assert rows["slices.worst.tar"] == ["-"]
    assert lines[-2:] == ["", "slices.age.old.too_small: 3 people"]


def test_models_are_columns_and_a_missing_figure_is_a_dash() -> None:
    other = {"people": 2, "promise": [{"seen": 0.25}]}
    lines = figures_table(["a", "elsewhere"], [FIGURES, other])
    assert lines[0].split() == ["a", "elsewhere"]
    rows = cells(lines)
    assert rows["people"] == ["2", "2"]
    assert rows["robustness.blur.tar"] == ["0.0004", "-"]
    assert rows["promise.0.seen"] == ["-", "0.2500"]
    table = lines[: lines.index("")]
    assert len({len(line) for line in table}) == 1


def test_a_bundle_that_is_not_a_folder_is_an_argument_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--bundle", str(tmp_path / "nope")]) == 2
    assert "nope is not a folder" in capsys.readouterr().err
