"""The page and the model card agree, explain what is missing, and escape every name."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from faceops.evaluation.report.document import Facts, Table, escaped, markdown
from faceops.evaluation.report.identification_sections import budget_sentence
from faceops.evaluation.report.report import card_sections, page, report_sections
from tests.evaluation.report.hostile import ATTACKS, hostile


@pytest.fixture
def facts() -> Facts:
    return hostile()[0]


def text_of(facts: Facts, folder: Path) -> str:
    return page(facts, hostile()[1], folder)


def test_names_are_escaped_and_nothing_is_fetched(facts: Facts, tmp_path: Path) -> None:
    text = text_of(facts, tmp_path)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "' onmouseover=" not in text
    assert "{{ 7 * 7 }}" in text  # as it is, not 49
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "http://" not in text
    assert "https://" not in text
    for attack in ATTACKS:
        assert attack in unescape(text)


def test_every_row_of_the_card_is_on_the_page(facts: Facts, tmp_path: Path) -> None:
    text, card = unescape(text_of(facts, tmp_path)), markdown("Card", card_sections(facts))
    rows = 0
    for section in card_sections(facts):
        for part in section.parts:
            if not isinstance(part, Table):
                continue
            for row in part.rows:
                assert all(len(row) == len(part.header) for row in part.rows)
                assert "|" + "|".join(f" {escaped(c)} " if c else " " for c in row) + "|" in card
                assert all(f">{cell}</t" in text for cell in row)
                rows += 1
    assert rows > 20


def test_the_budget_and_its_measured_rate_are_stated_in_words(facts: Facts, tmp_path: Path) -> None:
    held = [r for r in facts.figures["promise"] if r["budget"] == 0.05 and r["measured"]]
    largest = held[-1]
    text = unescape(text_of(facts, tmp_path))
    assert "so that at most one stranger in 20 is given a name; measured on 120" in text
    assert f"On 60 held-out people, it was {largest['seen'] * 100:.2g} %" in text
    broken = dict(facts.figures)
    broken["promise"] = [largest | {"seen": 0.5, "verdict": "broken",
                                    "seen_interval": {"low": 0.4, "high": 0.6}}]  # fmt: skip
    text_broken = unescape(text_of(replace(facts, figures=broken), tmp_path))
    assert "the budget is broken" in text_broken
    size = largest["gallery_faces"]
    assert f"Broken: in a gallery of {size} faces the budget was at most 5 %" in text_broken
    assert "refused: needs" in text  # 120 people are too few for this budget


def test_populations_are_shown_without_the_protocol_promise_too(
    facts: Facts, tmp_path: Path
) -> None:
    ends = {"low": 0.01, "high": 0.03}
    row = {"name": "school", "people": 40, "photos": 160, "fpir": 0.02, "fpir_interval": ends,
           "dir": 0.9, "dir_interval": ends, "budget": 0.01, "verdict": "undecided",
           "worst": True}  # fmt: skip
    few = {"name": "club", "people": 2, "photos": 4, "reason": "too few", "worst": False}
    figures = facts.figures | {"promise": [], "populations": [row, few]}
    text = unescape(text_of(replace(facts, figures=figures), tmp_path))
    assert "use the protocol all or promise" in text
    assert all(f">{cell}</t" in text for cell in ("school", "1 %: undecided", "too few"))


def test_people_used_in_training_are_not_a_fair_test(facts: Facts, tmp_path: Path) -> None:
    for seen, words in (
        ({"known": False}, "people who may have been in its training data"),
        (
            {"known": True, "trained_on": 3, "calibrated_on": 4},
            "60 people, 7 of them used",
        ),
        (
            {"known": True, "trained_on": 0, "calibrated_on": 0},
            "60 people used in neither",
        ),
    ):
        data = {"seen": seen | {"told": "as told"}, "folder": "f", "photos": 9, "people": 2,
                "faces": 7, "without_face": {"no_face": 2}}  # fmt: skip
        figures = facts.figures | {"data": data, "protocol": "all"}
        text = unescape(text_of(replace(facts, figures=figures), tmp_path))
        assert words in text
        assert "held-out people" not in text
        assert "as told." in text
        assert "2 no_face" in text


def test_small_groups_get_a_warning(facts: Facts, tmp_path: Path) -> None:
    text = unescape(text_of(facts, tmp_path))
    assert "10 people with two photos: even without a miss" in text
    assert "too few people" in text


def test_missing_figures_are_explained(facts: Facts, tmp_path: Path) -> None:
    few = Facts(facts.about, {"people": 60, "photos": 240}, None)
    text = unescape(page(few, [], tmp_path))
    for words in (
        "is not a release", "it is not calibrated", "compares no pairs",
        "searches no gallery", "evaluate.robustness_photos is 0", "No groups were given",
        "No training history", "No pictures", "are not probabilities",
    ):  # fmt: skip
        assert words in text, words
    titles = [section.title for section in report_sections(few, False)]
    assert len(titles) == len(set(titles)) == text.count("<h2")


def test_pictures_are_inside_the_page(facts: Facts, tmp_path: Path) -> None:
    without = text_of(facts, tmp_path)
    Image.new("RGB", (40, 30)).save(tmp_path / "roc.png")
    text = text_of(facts, tmp_path)
    assert text.count("data:image/png") == without.count("data:image/png") + 1
    assert without.count("data:image/jpeg") == 2 * len(hostile()[1])
    assert text == text_of(facts, tmp_path)


def test_markdown_cells_stay_one_cell() -> None:
    assert escaped("a|b\n<i>*c*`") == "a\\|b &lt;i>\\*c\\*\\`"


def test_people_who_calibrated_are_counted_once(facts: Facts) -> None:
    assert facts.thresholds
    of_lfw = {"people": 3199, "data": "3,199 validation people of lfw"}
    calibrated = facts.thresholds.model_copy(update=of_lfw)
    text = budget_sentence(replace(facts, thresholds=calibrated))
    assert "measured on 3,199 validation people of lfw" in text
