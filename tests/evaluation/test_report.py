"""The page and the card agree and escape every name; the worst mistakes are those of a loop."""

import csv
import re
from dataclasses import replace
from html import unescape
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.figures import rounded
from faceops.evaluation.plots import read_history, write_plots
from faceops.evaluation.protocols.all_pairs import scan_pairs
from faceops.evaluation.protocols.slices import Attributes, measure_slices
from faceops.evaluation.report.document import About, Facts, Table, escaped, markdown
from faceops.evaluation.report.identification_sections import budget_sentence
from faceops.evaluation.report.report import (
    CARD,
    ONE_PERSON,
    TWO_PEOPLE,
    MistakenPair,
    page,
    sections,
    worst_mistakes,
    write_mistake_sheets,
    write_mistakes_table,
)
from faceops.verification.embedded_faces import EmbeddedFaces
from tests.evaluation.simulated import VERIFIER, coarse, evaluation, people, thresholds

ATTACKS = (
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "' onmouseover='document.title=1' x='",
    "{{ 7 * 7 }} | [a](javascript:alert(1)) `x`",
)
VERIFY = {
    "kind": "linear", "compared_at_far": 0.01, "people": 120, "gain": 0.02,
    "tar": {"linear": 0.9, "distance": 0.88}, "gain_interval": {"low": 0.01, "high": 0.03},
    "calibration": {
        "method": "platt", "folds_of_people": 5,
        "held_out": {
            "isotonic": {"log_loss": 0.2, "expected_error": 0.01},
            "platt": {"log_loss": 0.1, "expected_error": 0.02},
        },
    },
}  # fmt: skip
HISTORY = "epoch,phase,loss,val_tar\n0,start,,0.5\n1,warmup,0.25,0.75\n2,triplet,0.3,0.8\n"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """A training history, read from its file."""
    (file := tmp_path_factory.mktemp("training") / "history.csv").write_text(HISTORY)
    return read_history(file)


@pytest.fixture(scope="module")
def facts(history: list[dict[str, str]]) -> Facts:
    """Those of a simulated evaluation in which every name is an attack."""
    groups = Attributes({ATTACKS[0]: np.where(np.arange(240) < 200, ATTACKS[1], ATTACKS[3])}, 0)
    slices = measure_slices(people(60, 4, 0.4, 2), groups, VERIFIER, thresholds(), 0)
    about = About(
        name=ATTACKS[0], use=[ATTACKS[1]], seen=[ATTACKS[2]], licences=[ATTACKS[3]],
        lineage=[("contract", "0" * 64), ("git commit", "")],
    )  # fmt: skip
    figures = evaluation().figures | {"slices": rounded(slices)}
    return Facts(about, figures, thresholds(), VERIFY, history)


@pytest.fixture(scope="module")
def pairs() -> list[MistakenPair]:
    """Mistakes among the same people."""
    plain = people(60, 4, 0.4, 2)
    persons = np.array([ATTACKS[i // 4 % 4] + name for i, name in enumerate(plain.persons)])
    paths = np.array([f"photos/{name}/{i}.jpg" for i, name in enumerate(persons)])
    faces = EmbeddedFaces(plain.embeddings, persons, paths)
    crops = np.full((len(faces), 112, 112, 3), 90, np.uint8)
    return worst_mistakes(faces, crops, VERIFIER, evaluation().pairs, calibrated=True)


def text_of(facts: Facts, **figures: object) -> str:
    """Return the text of the page with other figures, without pictures."""
    changed = replace(facts, figures=facts.figures | figures)
    return unescape(page(changed, [], Path("no/such/folder")))


def test_names_are_escaped_and_nothing_is_fetched_also_not_by_pictures(facts, pairs, tmp_path):
    text = page(facts, pairs, tmp_path)
    for part in ("<script", "<img src=x", "' onmouseover=", "http://", "https://"):
        assert part not in text
    assert "{{ 7 * 7 }}" in text  # as it is, not 49
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert all(attack in unescape(text) for attack in ATTACKS)
    assert text.count("data:image/jpeg") == 2 * len(pairs)
    Image.new("RGB", (40, 30)).save(tmp_path / "roc.png")
    shown = page(facts, pairs, tmp_path)
    assert shown.count("data:image/png") == text.count("data:image/png") + 1
    assert shown == page(facts, pairs, tmp_path)


def test_every_row_of_the_card_is_on_the_page(facts):
    text, card = text_of(facts), markdown("Card", sections(facts, CARD))
    parts = [part for section in sections(facts, CARD) for part in section.parts]
    rows = [(part, row) for part in parts if isinstance(part, Table) for row in part.rows]
    assert len(rows) > 20
    for part, row in rows:
        assert len(row) == len(part.header)
        assert "|" + "|".join(f" {escaped(c)} " if c else " " for c in row) + "|" in card
        assert all(f">{cell}</t" in text for cell in row)
    assert escaped("a|b\n<i>*c*`") == "a\\|b &lt;i>\\*c\\*\\`"  # stays one cell


def test_the_budget_and_its_measured_rate_are_stated_in_words(facts):
    held = [r for r in facts.figures["promise"] if r["budget"] == 0.05 and r["measured"]]
    largest = held[-1]
    text = text_of(facts)
    assert "so that at most one stranger in 20 is given a name; measured on 120" in text
    assert f"On 60 held-out people, it was {largest['seen'] * 100:.2g} %" in text
    assert "refused: needs" in text  # 120 people are too few for this budget
    ends = {"low": 0.4, "high": 0.6}
    broken = largest | {"seen": 0.5, "verdict": "broken", "seen_interval": ends}
    text = text_of(facts, promise=[broken])
    assert "the budget is broken" in text
    size = largest["gallery_faces"]
    assert f"Broken: in a gallery of {size} faces the budget was at most 5 %" in text
    of_lfw = {"people": 3199, "data": "3,199 validation people of lfw"}
    assert facts.thresholds
    calibrated = replace(facts, thresholds=facts.thresholds.model_copy(update=of_lfw))
    assert "measured on 3,199 validation people of lfw" in budget_sentence(calibrated)


def test_populations_are_shown_without_the_protocol_promise_too(facts):
    ends = {"low": 0.01, "high": 0.03}
    row = {"name": "school", "people": 40, "photos": 160, "fpir": 0.02, "fpir_interval": ends,
           "dir": 0.9, "dir_interval": ends, "budget": 0.01, "verdict": "undecided",
           "worst": True}  # fmt: skip
    few = {"name": "club", "people": 2, "photos": 4, "reason": "too few", "worst": False}
    text = text_of(facts, promise=[], populations=[row, few])
    assert "use the protocol all or promise" in text
    assert all(f">{cell}</t" in text for cell in ("school", "1 %: undecided", "too few"))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"known": False}, "people who may have been in its training data"),
        ({"known": True, "trained_on": 3, "calibrated_on": 4}, "60 people, 7 of them used"),
        ({"known": True, "trained_on": 0, "calibrated_on": 0}, "60 people used in neither"),
    ],
)
def test_people_used_in_training_are_not_a_fair_test(facts, seen, words):
    data = {"seen": seen | {"told": "as told"}, "folder": "f", "photos": 9, "people": 2,
            "faces": 7, "without_face": {"no_face": 2}}  # fmt: skip
    text = text_of(facts, data=data, protocol="all")
    assert all(part in text for part in (words, "as told.", "2 no_face"))
    assert "held-out people" not in text


def test_small_groups_and_missing_figures_are_explained(facts):
    text = text_of(facts)
    assert "10 people with two photos: even without a miss" in text
    assert "too few people" in text
    few = Facts(facts.about, {"people": 60, "photos": 240}, None)
    text = text_of(few)
    for words in (
        "is not a release", "it is not calibrated", "compares no pairs",
        "searches no gallery", "evaluate.robustness_photos is 0", "No groups were given",
        "No training history", "No pictures", "are not probabilities",
    ):  # fmt: skip
        assert words in text, words
    titles = [section.title for section in sections(few)]
    assert len(titles) == len(set(titles)) == text.count("<h2")


@pytest.fixture(scope="module")
def pictures(history: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All pictures of the evaluation."""
    folder, promise = tmp_path_factory.mktemp("pictures"), evaluation().figures["promise"]
    return write_plots(evaluation(), thresholds(), [0.01, 0.001], promise, folder, history)


@pytest.mark.slow
def test_all_pictures_are_drawn(pictures):
    names = ["roc", "det", "scores", "cmc", "calibration", "promise", "loss"]
    assert [path.stem for path in pictures] == names
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10  # not blank


@pytest.mark.browser
def test_page_fits_makes_no_requests_and_runs_no_script_of_a_name(facts, pairs, pictures, browser):
    report = pictures[0].with_name("report.html")
    report.write_text(page(facts, pairs, report.parent), "utf-8")
    for width in (390, 1280):  # a phone, a desktop
        tab = browser.new_page(viewport={"width": width, "height": 800})
        problems: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message, problems=problems: problems.append(message.text))
        tab.on("pageerror", lambda error, problems=problems: problems.append(str(error)))
        tab.on("request", lambda request, asked=asked: asked.append(request.url[:40]))
        tab.goto(report.as_uri())
        assert tab.title() == f"Evaluation of {ATTACKS[0]}"
        assert problems == []
        assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()[:40]]
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
        assert tab.evaluate(broken) == 0
        assert tab.locator("figure img").count() == 7
        # By keyboard: past everything at the top, then along the parts of the page.
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "To the figures"
        for key in ("Tab", "Tab", "Enter"):
            tab.keyboard.press(key)
        assert tab.evaluate("location.hash") == "#worth"
        top = tab.evaluate("document.querySelector('#worth h2').getBoundingClientRect().top")
        bar = tab.evaluate("document.querySelector('nav').getBoundingClientRect().bottom")
        assert bar - 1 <= top < 400  # not below the bar that stays
        tab.close()


FACES = people(30, 4, 0.5, 3)


def by_loop(wanted: bool, most: int) -> list[tuple[int, int]]:
    scores = VERIFIER.logit_matrix(FACES.embeddings, FACES.embeddings)
    rows, whose = combinations(range(len(FACES)), 2), FACES.persons
    pairs = [(scores[a, b], a, b) for a, b in rows if (whose[a] == whose[b]) == wanted]
    kept: list[tuple[int, int]] = []
    for _, a, b in sorted(pairs, reverse=not wanted):
        if len(kept) < most and not {a, b} & {row for pair in kept for row in pair}:
            kept.append((a, b))
    return kept


@pytest.fixture(scope="module")
def worst() -> list[MistakenPair]:
    crops = np.zeros((len(FACES), 112, 112, 3), np.uint8)
    scan = scan_pairs(FACES, VERIFIER, [0.05])
    return worst_mistakes(FACES, crops, VERIFIER, scan, calibrated=True, most=12)


def test_they_are_those_of_a_loop(worst):
    row_of = {path: row for row, path in enumerate(FACES.paths.tolist())}
    for kind, same in ((TWO_PEOPLE, False), (ONE_PERSON, True)):
        own = [pair for pair in worst if pair.kind == kind]
        rows = [tuple(sorted(row_of[path] for path in pair.paths)) for pair in own]
        assert rows == by_loop(same, 12)
        scores = [pair.log_odds for pair in own]
        assert scores == sorted(scores, reverse=not same)


def test_ties_and_few_photos_give_what_there_is():
    few = coarse(people(3, 2), 1)
    scan = scan_pairs(few, VERIFIER, [0.01])
    found = worst_mistakes(few, None, VERIFIER, scan, calibrated=False)
    assert sum(pair.kind == ONE_PERSON for pair in found) == 3
    photos = [path for pair in found if pair.kind == TWO_PEOPLE for path in pair.paths]
    assert 2 <= len(photos) == len(set(photos)) <= 6
    assert found[0].similarity == f"distance {-found[0].log_odds:.3f}"


def test_table_and_sheets_show_every_pair(worst, tmp_path):
    write_mistakes_table(worst, tmp_path / "mistakes.csv")
    write_mistake_sheets(worst, tmp_path)
    rows = list(csv.DictReader((tmp_path / "mistakes.csv").open()))
    assert [row["path"] for row in rows] == [pair.paths[0] for pair in worst]
    assert len(rows) == 24
    with Image.open(tmp_path / "mistakes_two_people.png") as sheet:
        assert sheet.height > 3 * 150  # 24 faces in three lines
    assert worst[0].similarity.startswith("p 0.")
