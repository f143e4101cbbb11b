"""The report in a real browser: no name can run a script, every face is found, keys work."""

import csv
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from PIL import Image

from faceops.gallery.store import Gallery
from faceops.identification.forget.output_folder import ForgottenOutput, forget_in_files
from faceops.identification.report import report
from faceops.identification.report.report import fair_shares
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

ATTACKS = (
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "' onmouseover='document.title=1' x='",
    "{{ 7 * 7 }} &lt;b&gt;",
)


TWINS = ("Zoë Ω", "Zoë <b>Ω</b>")  # one person, enrolled under two names: too close to call
DOUBLED = "twice \"><img src=x onerror=document.title='owned'>.png"
IN_FRONT = 2


@pytest.fixture(scope="module")
def page(synthetic_set: Path, gallery_dir: Path, bundle: Bundle, tmp_path_factory: Any) -> Path:
    """A report whose people and files have hostile names; people: the gallery's, renamed.

    Few faces are shown at first, so that the lists and the pictures in them are used.
    """
    folder = tmp_path_factory.mktemp("hostile")
    album = folder / "album"
    album.mkdir()
    scenes = sorted((synthetic_set / "album").glob("scene_*.jpg"))
    for number, path in enumerate(scenes):
        attack = ATTACKS[number % len(ATTACKS)].replace("/", "\u2215")
        os.link(path, album / f"{number:02d} {attack}.jpg")
    with Image.open(scenes[0]) as scene:
        doubled = Image.new("RGB", (scene.width * 2, scene.height))
        doubled.paste(scene)
        doubled.paste(scene, (scene.width, 0))
        doubled.save(album / DOUBLED)
    (album / "<script>document.title='owned'<\u2215script>.txt").write_text("no photo")
    for number in range(20):
        (album / f"note {number:02d}.txt").write_text("no photo")
    gallery = Gallery.open(Path(shutil.copytree(gallery_dir, folder / "gallery")))
    names = dict(zip(gallery.people, (*ATTACKS, "Ann Lee", TWINS[0]), strict=True))
    renamed = [replace(face, person=names[face.person]) for face in gallery.faces]
    twins = [replace(face, person=TWINS[1]) for face in renamed if face.person == TWINS[0]]
    hostile = replace(gallery, faces=()).with_faces([*renamed, *twins])
    hostile.save()
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(report, "IN_FRONT", IN_FRONT)
        bounds.setattr(report, "PICTURES_OF_PEOPLE", 5 * IN_FRONT + 3)
        summary = identify(album, hostile, bundle, folder / "out")
    assert set(summary.people) == {*ATTACKS, "Ann Lee"}
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def rows(page: Path) -> list[dict[str, str]]:
    """The records beside the page."""
    with page.with_name("faces.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_names_are_escaped(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;document.title=" in text
    assert "<img src=x" not in text
    assert "http://" not in text
    assert "https://" not in text


@pytest.fixture
def tab(page: Path, browser: Any) -> Iterator[Any]:
    """The page in a browser; no script may fail or be refused."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(page.as_uri())
    yield opened
    opened.close()
    assert problems == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_runs_no_foreign_script_and_fits(tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    for link in tab.locator("article a").all()[:10]:
        link.hover()
    assert "faces named" in tab.title()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("#people h3").all_inner_texts() == sorted(
        [*ATTACKS, "Ann Lee"], key=str.casefold
    )
    broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0


@pytest.mark.browser
def test_the_search_filters_and_is_reached_by_keyboard(tab: Any) -> None:
    cards = tab.locator("#people article.card:visible")
    assert cards.count() == 5
    tab.keyboard.press("/")
    tab.keyboard.type("ann LEE")
    assert cards.locator("h3").all_inner_texts() == ["Ann Lee"]
    tab.keyboard.press("Escape")
    assert cards.count() == 5
    tab.keyboard.type("no such name")
    assert tab.locator("[data-list]:visible").count() == 0
    assert "0 of" in tab.locator("#matches").inner_text()


def most_photographed(rows: list[dict[str, str]]) -> tuple[str, list[str]]:
    """Return the person with the most faces, and their photos."""
    person = Counter(row["person"] for row in rows if row["person"]).most_common(1)[0][0]
    return person, [row["photo_path"] for row in rows if row["person"] == person]


@pytest.mark.browser
def test_every_photo_of_a_person_is_listed_and_linked(
    page: Path, rows: list[dict[str, str]], tab: Any
) -> None:
    person, photos = most_photographed(rows)
    assert len(photos) > IN_FRONT
    card = tab.locator("#people article").filter(has=tab.get_by_role("heading", name=person))
    assert card.locator("li").count() == IN_FRONT
    card.locator("summary").click()
    links = card.locator("details a")
    links.first.wait_for()
    assert sorted(link.get_attribute("title") for link in links.all()) == sorted(photos)
    for link in links.all():
        path = url2pathname(urlsplit(link.get_attribute("href")).path)
        assert Path(path) == page.parent.parent / "album" / link.get_attribute("title")
    assert card.locator("details img").count() >= IN_FRONT
    broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0
    assert "faces named" in tab.title()


@pytest.mark.browser
def test_the_search_finds_a_face_that_is_not_in_front(rows: list[dict[str, str]], tab: Any) -> None:
    person, photos = most_photographed(rows)
    card = tab.locator("#people article").filter(has=tab.get_by_role("heading", name=person))
    front = {link.get_attribute("title") for link in card.locator("a").all()}
    behind = next(photo for photo in photos if photo not in front)
    tab.locator("#search").fill(behind)
    assert card.locator("a:visible").evaluate_all("all => all.map(a => a.title)") == [behind]
    tab.locator("#search").fill("")
    assert card.locator("a:visible").count() == IN_FRONT
    tab.locator("#search").fill("note 17")
    assert tab.locator("section a:visible").evaluate_all("all => all.map(a => a.title)") == [
        "note 17.txt"
    ]
    assert tab.locator("#matches").inner_text().startswith("1 of ")


@pytest.mark.browser
def test_the_search_ignores_accents(tab: Any) -> None:
    for spelled in ("zoe", "ZOË", "zoe\u0308"):
        tab.locator("#search").fill(spelled)
        assert tab.locator("#ambiguous .ambiguous li:visible").count() > 0, spelled
        assert tab.locator("#people").is_hidden()


@pytest.mark.browser
def test_an_ambiguous_face_is_shown_beside_its_candidates(tab: Any) -> None:
    ambiguous = tab.locator("#ambiguous .ambiguous li")
    close = ambiguous.filter(has_text="Zoë Ω?").first
    assert close.locator("img").count() == 3
    said = close.text_content() or ""
    assert all(f"{twin}? " in said for twin in TWINS)
    twice = ambiguous.filter(has_text="already in this photo").first
    assert twice.locator("img").count() == 2
    assert twice.locator("a").get_attribute("title") == DOUBLED


@pytest.mark.browser
def test_the_page_is_used_by_keyboard_alone(tab: Any) -> None:
    focus = "document.activeElement.closest('[data-list]')?.querySelector('h3')?.textContent"
    names = tab.locator("#people h3").all_inner_texts()
    tab.keyboard.press("/")
    tab.keyboard.press("Enter")
    assert tab.evaluate(focus) == names[0]
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate(focus) == names[1]
    first = tab.evaluate("document.activeElement.title")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate(focus) == names[1]
    assert tab.evaluate("document.activeElement.title") != first
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate(focus) == names[0]
    while tab.evaluate("document.activeElement.tagName") != "SUMMARY":
        tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.locator("#people details[open] a").first.wait_for()
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.closest('details') !== null")
    assert tab.evaluate("document.activeElement.tagName") == "A"
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.id") == "search"


@pytest.mark.browser
def test_without_scripts_the_page_can_be_read(page: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.locator("#people h3").count() == 5
    assert tab.locator("#people img").count() >= 5
    assert not tab.locator("#search").is_visible()
    tab.locator("#unusable summary").first.click()
    assert tab.locator('#unusable a[title="note 17.txt"]').is_visible()
    context.close()


def test_the_page_says_what_it_was_made_with(page: Path, rows: list[dict[str, str]]) -> None:
    about = page.read_text("utf-8").split('id="about"')[1].split("</footer>")[0]
    for fact in ("release", "contract_id", "run_id"):
        assert rows[0][fact] in about
    assert str(page.parent.parent / "gallery") in about
    assert str(page.parent.parent / "album") in about
    assert "Budget" in about and "Threshold" in about


def test_a_page_that_only_guesses_a_person_goes_when_they_are_forgotten(
    page: Path, tmp_path: Path
) -> None:
    assert TWINS[1] not in page.with_name("summary.json").read_text("utf-8")
    shutil.copyfile(page, tmp_path / "report.html")
    done = ForgottenOutput(tmp_path)
    forget_in_files(done, lambda name: name == "Nobody", [])
    assert done.reports == 0
    forget_in_files(done, lambda name: name == TWINS[1], [])
    assert done.reports == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.browser
def test_a_page_that_cannot_list_all_says_so(
    page: Path,
    rows: list[dict[str, str]],
    bundle: Bundle,
    browser: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "LISTED", 0)
    monkeypatch.setattr(report, "ALWAYS_LISTED", 1)
    shutil.copyfile(page.with_name("state.sqlite"), tmp_path / "state.sqlite")
    folder = page.parent.parent
    summary = identify(folder / "album", Gallery.open(folder / "gallery"), bundle, tmp_path)
    assert summary.photos_opened == 0
    tab = browser.new_page()
    tab.goto((tmp_path / "report.html").as_uri())
    person, photos = most_photographed(rows)
    tab.locator("#search").fill("no such name")
    listed, all_rows = tab.evaluate("everything"), len(rows)
    said = tab.locator("#matches").inner_text()
    assert said == f"0 of {listed} match; {all_rows - listed} more are in faces.csv only"
    tab.keyboard.press("Escape")
    card = tab.locator("#people article").filter(has=tab.get_by_role("heading", name=person))
    card.locator("summary").click()
    rest = card.get_by_text(f"{len(photos) - 1} more are in faces.csv only.")
    rest.wait_for()
    tab.close()


def test_small_requests_are_met_in_full_and_the_others_get_equal_shares() -> None:
    assert fair_shares([400, 2, 30], 50) == [24, 2, 24]
    assert fair_shares([3, 1], 100) == [3, 1]
    assert fair_shares([2, 9, 3], 2) == [0, 1, 1]
    assert fair_shares([], 5) == []
    draw = random.Random(3)
    for _ in range(200):
        wanted = [draw.randrange(20) for _ in range(draw.randrange(1, 12))]
        total = draw.randrange(120)
        shares = fair_shares(wanted, total)
        assert sum(shares) == min(total, sum(wanted))
        assert all(share <= want for share, want in zip(shares, wanted, strict=True))
