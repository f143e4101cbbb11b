"""The report in a real browser, of desktop and phone size."""

from pathlib import Path
from typing import Any

import pytest

from faceops.config.sections import Evaluate
from faceops.evaluation.evaluate import evaluate_embeddings
from faceops.evaluation.plots import write_plots
from faceops.evaluation.report.report import page
from tests.evaluation.report.hostile import ATTACKS, hostile
from tests.evaluation.simulated import VERIFIER, people, thresholds


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    evaluation = evaluate_embeddings(
        people(60, 4, 0.4, 2), VERIFIER, thresholds(), Evaluate(pairs=100, pair_draws=2)
    )
    write_plots(evaluation, thresholds(), [0.01], evaluation.figures["promise"], folder)
    facts, pairs = hostile()
    (folder / "report.html").write_text(page(facts, pairs, folder), "utf-8")
    return folder / "report.html"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_makes_no_requests_and_runs_no_script_of_a_name(
    report: Path, browser: Any, width: int
) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url[:40]))
    tab.goto(report.as_uri())
    assert tab.title() == f"Evaluation of {ATTACKS[0]}"
    assert problems == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()[:40]]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0
    assert tab.locator("figure img").count() == 6
    # By keyboard: past everything at the top, then along the parts of the page.
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "To the figures"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.evaluate("location.hash") == "#worth"
    top = tab.evaluate("document.querySelector('#worth h2').getBoundingClientRect().top")
    bar = tab.evaluate("document.querySelector('nav').getBoundingClientRect().bottom")
    assert bar - 1 <= top < 400  # not below the bar that stays
    tab.close()
