"""Figures as a person reads them: intervals beside them, groups and models in tables."""

from faceops.cli.evaluate import figures_lines, side_by_side

GROUP = {
    "people": 3, "photos": 9, "tar": 0.5, "tar_interval": {"low": 0.25, "high": 0.75},
    "tar_supported": False, "false_accept_rate": 0.0, "too_small": "3 people",
}  # fmt: skip
FIGURES = {
    "people": 2,
    "photos": 5,
    "closed_set": {"rank_1": 0.5, "rank_1_interval": {"low": 0.1, "high": 0.9}, "reason": ""},
    "robustness": [
        {"alteration": "unaltered", "tar": 1.0, "far": 0.001},
        {"alteration": "blur", "tar": 0.0004, "far": 0.001},
    ],
    "slices": {"age": {"old": GROUP, "young": GROUP | {"too_small": ""}}, "worst": {"tar": None}},
}


def test_a_models_figures_are_lines_and_tables() -> None:
    told = "\n".join(figures_lines("here", FIGURES))
    assert told.startswith("here on 2 people, 5 photos\n")
    assert "rank_1                           0.5000  (0.1000 to 0.9000)" in told
    assert "reason" not in told
    assert "  far                              0.0010\n  alteration  tar\n" in told
    assert "  blur        0.0004" in told
    assert "  age    people  photos  tar                        false_accept_rate\n" in told
    assert "  young  3       9       0.5000 (0.2500 to 0.7500)  0.0000\n" in told
    assert "  ! old: 3 people\n" in told
    assert "! young" not in told
    assert "tar_supported" not in told


def test_models_stand_side_by_side_and_what_one_lacks_is_a_dash() -> None:
    other = {"people": 2, "photos": 5, "promise": [{"seen": 0.25}]}
    lines = side_by_side(["a", "elsewhere"], [FIGURES, other])
    assert lines[0].split() == ["a", "elsewhere"]
    cells = {line.split()[0]: line for line in lines[1:]}
    assert cells["closed_set.rank_1"].split()[1:] == ["0.5000", "(0.1000", "to", "0.9000)", "-"]
    assert cells["robustness.blur.tar"].split()[1:] == ["0.0004", "-"]
    assert cells["promise.0.seen"].split()[1:] == ["-", "0.2500"]
    assert len({len(line) for line in lines}) == 1
