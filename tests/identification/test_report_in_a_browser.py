"""The report in a real browser: no name can run a script, the search filters."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

ATTACKS = (
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "' onmouseover='document.title=1' x='",
    "{{ 7 * 7 }} &lt;b&gt;",
)


@pytest.fixture(scope="module")
def page(synthetic_set: Path, gallery: Gallery, bundle: Bundle, tmp_path_factory: Any) -> Path:
    """A report whose people and files have hostile names; people: the gallery's, renamed."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("hostile")
    album = folder / "album"
    album.mkdir()
    for number, path in enumerate(sorted((synthetic_set / "album").glob("scene_*.jpg"))):
        attack = ATTACKS[number % len(ATTACKS)].replace("/", "\u2215")
        os.link(path, album / f"{number:02d} {attack}.jpg")
    (album / "<script>document.title='owned'<\u2215script>.txt").write_text("no photo")
    names = dict(zip(gallery.people, (*ATTACKS, "Ann Lee", "Zoë Ω"), strict=True))
    hostile = replace(
        gallery,
        folder=folder / "gallery",
        faces=tuple(replace(face, person=names[face.person]) for face in gallery.faces),
    )
    summary = identify(album, hostile, bundle, folder / "out")
    assert len(summary.people) == 6
    return folder / "out" / "report.html"


def test_names_are_escaped(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;document.title=" in text
    assert "<img src=x" not in text
    assert "http://" not in text
    assert "https://" not in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_runs_no_foreign_script_and_fits(page: Path, browser: Any, width: int) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(page.as_uri())
    for link in tab.locator("article a").all()[:10]:
        link.hover()
    assert "faces named" in tab.title()
    assert problems == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("#people h3").all_inner_texts() == sorted(
        [*ATTACKS, "Ann Lee", "Zoë Ω"], key=str.casefold
    )
    broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0
    tab.close()


@pytest.mark.browser
def test_the_search_filters_and_is_reached_by_keyboard(page: Path, browser: Any) -> None:
    tab = browser.new_page()
    tab.goto(page.as_uri())
    cards = tab.locator("#people article.card:visible")
    assert cards.count() == 6
    tab.keyboard.press("/")
    tab.keyboard.type("ann LEE")
    assert cards.locator("h3").all_inner_texts() == ["Ann Lee"]
    tab.keyboard.press("Escape")
    assert cards.count() == 6
    tab.keyboard.type("no such name")
    assert tab.locator("[data-search]:visible").count() == 0
    assert "0 of" in tab.locator("#matches").inner_text()
    tab.close()
