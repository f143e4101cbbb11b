"""`faceops evaluate`: figures as a table, and wrong calls."""

from faceops.cli import main
from faceops.cli.evaluate import figures_table
from faceops.evaluation.evaluate import population_rows

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


def test_a_figure_is_a_row_with_its_interval_and_words_are_notes_below():
    lines = figures_table(["here"], [FIGURES])
    rows = cells(lines)
    assert rows["here"] == []
    assert rows["closed_set.rank_1"] == ["0.5000", "(0.1000", "to", "0.9000)"]
    assert rows["robustness.blur.tar"] == ["0.0004"]
    assert rows["slices.age.young.tar"] == ["0.5000", "(0.2500", "to", "0.7500)"]
    assert rows["slices.worst.tar"] == ["-"]
    assert lines[-2:] == ["", "slices.age.old.too_small: 3 people"]


def test_models_are_columns_and_a_missing_figure_is_a_dash():
    other = {"people": 2, "promise": [{"seen": 0.25}]}
    lines = figures_table(["a", "elsewhere"], [FIGURES, other])
    assert lines[0].split() == ["a", "elsewhere"]
    rows = cells(lines)
    assert rows["people"] == ["2", "2"]
    assert rows["robustness.blur.tar"] == ["0.0004", "-"]
    assert rows["promise.0.seen"] == ["-", "0.2500"]
    table = lines[: lines.index("")]
    assert len({len(line) for line in table}) == 1


def test_the_promise_by_population_is_shown_in_words_and_its_worst_is_marked():
    rows = population_rows({
        "school": {"people": 40, "photos": 160, "open_set": {
            "dir": 0.9, "dir_interval": {"low": 0.8, "high": 1.0}, "budget": 0.01,
            "fpir": 0.02, "fpir_interval": {"low": 0.015, "high": 0.03}}},
        "club": {"people": 30, "photos": 90, "promise": [
            {"gallery_faces": faces, "budget": budget, "seen": budget / 2,
             "seen_interval": {"low": 0.0, "high": budget}}
            for faces in (5, 20) for budget in (0.1, 0.01)]},
        "few": {"people": 2, "photos": 4, "reason": "too few people"},
    })  # fmt: skip
    assert [row["worst"] for row in rows] == [True, False, False]
    assert [row.get("verdict") for row in rows] == ["broken", "kept", None]
    lines = figures_table(["school"], [FIGURES | {"populations": rows}])
    shown = lines[lines.index("strangers named, by population:") + 1 :][:3]
    assert shown == [
        "school: 40 people, 160 photos: 0.0200 (0.0150 to 0.0300) at a budget of 0.01, broken; "
        "known people named rightly 0.9000, the worst",
        "club: 30 people, 90 photos: 0.0050 (0.0000 to 0.0100) at a budget of 0.01, kept",
        "few: 2 people, 4 photos: too few people",
    ]
    assert not [line for line in lines if line.startswith("populations.")]


def test_a_set_of_photos_that_is_given_twice_is_refused(tmp_path, capsys):
    data, bundle = tmp_path / "photos", tmp_path / "bundle"
    (data / "Ada").mkdir(parents=True)
    bundle.mkdir()
    twice = ["--data", str(data), "--data", f"{data}/"]
    assert main(["evaluate", "--bundle", str(bundle), *twice]) == 2
    assert "two --data name one folder" in capsys.readouterr().err


def test_a_bundle_that_is_not_a_folder_is_an_argument_error(tmp_path, capsys):
    assert main(["evaluate", "--bundle", str(tmp_path / "nope")]) == 2
    assert "nope is not a folder" in capsys.readouterr().err
