"""The report in a real browser: no name can run a script, every face is found, keys work."""

import itertools
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pyarrow as pa
import pytest

from faceops.base.reasons import CODES, IDENTIFIED, NO_REASON, REJECTED, UNKNOWN, Reason
from faceops.identification.engine.decide import NamedBlock
from faceops.identification.engine.verdicts import NOBODY
from faceops.identification.forget.files import ForgottenOutput, forget_in_files
from faceops.identification.forget.traces import mentions, search_traces
from faceops.identification.records.drawings import shown_faces
from faceops.identification.report import pages, report
from faceops.identification.report.pages import captions, fair_shares, page_cuts
from faceops.identification.report.report import Report, people_on, rows_of
from faceops.identification.unknown.unknown_people import UnknownPeople, UnknownPerson
from tests.gallery.gallery_files import make_gallery
from tests.identification.made_up_run import made_up_store, made_up_summary, named_block

ATTACKS = (
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "' onmouseover='document.title=1' x='",
    "{{ 7 * 7 }} &lt;b&gt;",
)
TWINS = ("Zoë Ω", "Zoë <b>Ω</b>")  # one person, enrolled under two names: too close to call
ANN = "Ann Lee"
PEOPLE = sorted([*ATTACKS, *TWINS, ANN, "Never Seen"])
DOUBLED = "twice \"><img src=x onerror=document.title='owned'>.png"
BROKEN_NAME = "caf\udce9.jpg"  # a byte that is not UTF-8
PHOTOS_OF_ANN = [f"ann/IMG {number:03d}.jpg" for number in range(24)]
IN_FRONT, PAGE_ROWS = 4, 10


@dataclass
class Face:
    """A decision."""

    kind: int = IDENTIFIED
    reason: int = NO_REASON
    best: int = NOBODY
    runner_up: int = NOBODY
    probability: float = np.nan
    runner_up_probability: float = np.nan
    stranger_share: float = np.nan
    quality: float = 0.9


def named(person: str, probability: float, share: float = 1e-5) -> Face:
    return Face(best=PEOPLE.index(person), probability=probability, stranger_share=share)


def unnamed(reason: Reason, best: str, probability: float, runner_up: str | None = None) -> Face:
    other = NOBODY if runner_up is None else PEOPLE.index(runner_up)
    place = PEOPLE.index(best)
    return Face(UNKNOWN, CODES[reason], place, other, probability, probability - 0.01)


def photos() -> Mapping[str, list[Face]]:
    """Return the faces of each photo of the album."""
    found = {name: [named(ANN, 0.9 + n / 1000)] for n, name in enumerate(PHOTOS_OF_ANN)}
    found[PHOTOS_OF_ANN[3]] = [named(ANN, 0.8, 0.02)]  # near the limit
    for number, attack in enumerate(ATTACKS):
        for copy in range(3):
            name = f"{copy} {attack}.jpg".replace("/", "\u2215")
            found[name] = [named(attack, 0.95 + number / 100)]
    found["twins.jpg"] = [unnamed(Reason.AMBIGUOUS, TWINS[0], 0.97, TWINS[1])]
    found[DOUBLED] = [named(ANN, 0.99), unnamed(Reason.AMBIGUOUS, ANN, 0.98, TWINS[0])]
    found["guess.jpg"] = [unnamed(Reason.BELOW_THRESHOLD, TWINS[1], 0.4)]
    found["nobody.jpg"] = [unnamed(Reason.BELOW_THRESHOLD, "Never Seen", 0.001)]
    for number in range(5):
        found[f"stranger {number}.jpg"] = [unnamed(Reason.BELOW_THRESHOLD, ANN, 0.2)]
    found["poor.jpg"] = [Face(REJECTED, CODES[Reason.LOW_QUALITY])]
    found["<script>document.title='owned'<\u2215script>.txt"] = []
    found |= {f"note {number:02d}.txt": [] for number in range(25)}
    return found


def columns_of(faces: Sequence[Face]) -> dict[str, np.ndarray]:
    return {name: np.array([vars(face)[name] for face in faces]) for name in vars(faces[0])}


def write_report(
    out: Path, blocks: Sequence[NamedBlock], unknown: UnknownPeople | None = None
) -> None:
    """Write the report of made-up blocks of the photos in the folder `album` beside `out`."""
    album, gallery = out.parent / "album", out.parent / "gallery"
    out.mkdir()
    with made_up_store(out / "state.sqlite", blocks[:1]) as store:
        written = Report(album, 0.01)
        for block in blocks:
            written.add(block)
        if unknown:
            written.add_unknown_people(unknown)
        summary = made_up_summary(album, blocks, 0 if unknown is None else 1)
        written.write(out, store, summary, gallery, out)


@pytest.fixture(scope="module")
def page(tmp_path_factory: Any) -> Path:
    """A report whose people and files have hostile names, with small pages and few in front."""
    folder = tmp_path_factory.mktemp("hostile")
    root, out, album = folder / "album", folder / "out", photos()
    columns = columns_of([face for some in album.values() for face in some])
    counts = np.array([len(some) for some in album.values()])
    reasons = [None if count else Reason.NOT_A_PHOTO for count in counts]
    block = named_block(root, list(album), counts, PEOPLE, columns, reasons)
    broken = named_block(root, [r"caf\xe9.jpg"], np.array([0]), PEOPLE, {})
    broken.photos.paths[0] = str(root / BROKEN_NAME)  # type: ignore[index]
    make_gallery(folder / "gallery", [(name, seed) for seed, name in enumerate(TWINS)])
    strangers = UnknownPerson(7, 5, np.arange(2, 7))
    found = UnknownPeople(pa.table({}), [strangers], np.array([0, 1]))
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(report, "IN_FRONT", IN_FRONT)
        bounds.setattr(report, "PICTURES_OF_PEOPLE", 20)
        bounds.setattr(pages, "PAGE_ROWS", PAGE_ROWS)
        write_report(out, [block, broken], found)
    return out / "report.html"


def test_captions_say_what_a_person_decided(tmp_path):
    confirmed = Face(IDENTIFIED, CODES[Reason.CONFIRMED], 0, stranger_share=1.0)
    refused = Face(UNKNOWN, CODES[Reason.REFUSED_BY_PERSON], 1, probability=0.5)
    ignored = Face(REJECTED, CODES[Reason.IGNORED])
    columns = columns_of([confirmed, refused, ignored])
    block = named_block(tmp_path, ["a.jpg"], np.array([3]), ["Ann", "Bo"], columns)
    said = captions(rows_of(block, 0, 0.01), ["Ann", "Bo"])
    assert said == ["confirmed", "Bo? .500, another was refused", "ignored"]
    labels = [face.label for face in shown_faces(block)]
    assert labels == ["Ann confirmed", "refused by person", "ignored"]


def all_pages(page: Path) -> list[Path]:
    return [page, *sorted(page.with_name("report").iterdir())]


def test_names_are_escaped_on_every_page_and_the_first_says_what_it_was_made_with(page):
    assert len(all_pages(page)) > 10
    for one in all_pages(page):
        text = one.read_text("utf-8")
        assert text.count("<script>") == 1  # the page's own
        assert not any(part in text for part in ("<img src=x", "http://", "https://"))
    assert "&lt;script&gt;document.title=" in page.read_text("utf-8")
    about = page.read_text("utf-8").split('id="about"')[1].split("</footer>")[0]
    folders = [str(page.parent.parent / name) for name in ("gallery", "album")]
    run = ("made up", "0" * 64, "20261129T120000Z-abcdef", "Budget", "Threshold")
    assert all(fact in about for fact in (*folders, *run))


def test_every_page_lists_whom_it_shows(page):
    assert people_on(page) == sorted({*PEOPLE} - {"Never Seen"})
    folder = page.with_name("report")
    assert people_on(folder / "people-2.html") == [ANN]
    assert people_on(folder / "ambiguous-1.html") == sorted([ANN, *TWINS])
    assert people_on(folder / "unknown-1.html") == [TWINS[1]]
    assert people_on(folder / "unknown-people-1.html") == []


@pytest.fixture
def tab(page: Path, browser: Any) -> Iterator[Any]:
    """The first page in a browser; no script may fail or be refused."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(page.as_uri())
    yield opened
    opened.close()
    assert problems == []


def check_page(tab: Any, width: int) -> None:
    """No name ran a script, the page fits, and its pictures are shown."""
    for link in tab.locator("[data-list] a").all()[:2]:
        link.hover()
    assert tab.title().startswith("FaceOps: ")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_first_page_runs_no_foreign_script_and_fits(tab, width):
    tab.set_viewport_size({"width": width, "height": 800})
    check_page(tab, width)
    assert tab.locator("#people h3").all_inner_texts() == sorted([*ATTACKS, ANN], key=str.casefold)


def titles(links: Any) -> list[str]:
    """Return the photos that links lead to, as they are shown."""
    found: list[str] = links.evaluate_all("all => all.map(a => a.title || a.textContent)")
    return found


@pytest.mark.browser
def test_every_photo_is_listed_once_and_linked_on_pages_that_fit(page, tab):
    root, seen, visited = page.parent.parent / "album", [], {page.as_uri()}
    tab.set_viewport_size({"width": 360, "height": 800})
    for kind in ("people", "ambiguous", "unknown-people", "unknown", "unusable"):
        tab.goto(page.with_name("report").joinpath(f"{kind}-1.html").as_uri())
        while True:
            visited.add(tab.url)
            check_page(tab, 360)
            links = tab.locator("[data-list] a")
            assert 0 < links.count() <= PAGE_ROWS
            for shown, link in zip(titles(links), links.all(), strict=True):
                path = os.fsdecode(unquote_to_bytes(urlsplit(link.get_attribute("href")).path))
                name = BROKEN_NAME if shown == r"caf\xe9.jpg" else shown
                assert path == f"{root}/{name}"
                seen.append(name)
            following = tab.locator("nav a[rel=next]")
            if not following.count():
                break
            following.first.click()
    assert visited == {one.as_uri() for one in all_pages(page)}
    every = [name for name, faces in photos().items() for _ in faces or [None]]
    assert sorted(seen) == sorted([*every, BROKEN_NAME])


@pytest.mark.browser
def test_the_search_filters_and_is_reached_by_keyboard(tab):
    cards = tab.locator("#people article.card:visible")
    assert cards.count() == 5
    tab.keyboard.press("/")
    tab.keyboard.type("ann LEE")
    assert cards.locator("h3").all_inner_texts() == [ANN]
    tab.keyboard.press("Escape")
    assert cards.count() == 5
    tab.keyboard.type("no such name")
    assert tab.locator("[data-list]:visible").count() == 0
    assert "0 in the whole report" in tab.locator("#matches").inner_text()
    for spelled in ("zoe", "ZOË", "zoe\u0308"):
        tab.locator("#search").fill(spelled)
        assert tab.locator("#ambiguous .ambiguous li:visible").count() > 0, spelled
        assert tab.locator("#people").is_hidden()


@pytest.mark.browser
def test_a_card_leads_to_all_faces_the_least_sure_first(tab):
    card = tab.locator("#people article").filter(has=tab.get_by_role("heading", name=ANN))
    front = titles(card.locator("li a"))
    assert front[0] == PHOTOS_OF_ANN[3]  # to be checked
    assert front[1:] == [DOUBLED, PHOTOS_OF_ANN[23], PHOTOS_OF_ANN[22]]
    tab.get_by_role("link", name=ANN, exact=True).first.click()
    assert tab.evaluate("location.hash").startswith("#card-")
    card.get_by_text(f"All {len(PHOTOS_OF_ANN) + 1}").click()
    section = tab.locator("section:target")
    assert section.locator("h2").inner_text().startswith(ANN)
    assert section.locator("li a").first.get_attribute("title") == PHOTOS_OF_ANN[3]
    assert tab.locator("img").count() > 0


@pytest.mark.browser
def test_the_search_finds_a_face_that_is_not_in_front(tab):
    behind = PHOTOS_OF_ANN[12]
    tab.locator("#search").fill(behind)
    assert tab.locator("#people").is_hidden()
    found = tab.locator("#found a")
    assert found.all_inner_texts() == [behind]
    assert tab.locator("#matches").inner_text().startswith("1 in the whole report")
    found.click()
    assert (tab.locator("li:target").text_content() or "").startswith(behind)
    tab.locator("#search").fill(PHOTOS_OF_ANN[13])
    assert tab.locator("#matches").inner_text().startswith("1 of 10 on this page")
    assert titles(tab.locator("main li a:visible")) == [PHOTOS_OF_ANN[13]]


@pytest.mark.browser
def test_the_search_in_a_large_report_finds_people_on_any_page(tmp_path, browser, monkeypatch):
    monkeypatch.setattr(report, "CARDS", 10)
    monkeypatch.setattr(report, "INDEXED", 100)
    people = [f"Person {number:02d}" for number in range(40)]
    best = np.repeat(np.arange(40), np.arange(3, 43))  # the first is the rarest
    faces = [Face(best=one, probability=0.99, stranger_share=0.005) for one in best]
    ambiguous = Face(UNKNOWN, CODES[Reason.AMBIGUOUS], 39, 38, 0.9, 0.89)
    columns = columns_of(faces + [ambiguous] * 60)
    paths = [f"{number}.jpg" for number in range(len(faces) + 60)]
    block = named_block(tmp_path / "album", paths, np.ones(len(paths), int), people, columns)
    out = tmp_path / "out"
    write_report(out, [block])
    page = (out / "report.html").read_text("utf-8")
    assert " and 28 more: they are the nearest to the limit" in page and ">All 60</a>" in page
    tab = browser.new_page()
    tab.goto((out / "report.html").as_uri())
    assert tab.locator("#people article").count() == 10
    tab.locator("#search").fill(people[0])
    assert "faces.csv has all" in tab.locator("#matches").inner_text()
    tab.locator("#found a", has_text=people[0]).first.click()
    section = tab.locator("section:target")
    assert section.locator("h2").inner_text().startswith(people[0])
    assert section.locator("li").count() == 3
    assert people_on(out / "report.html") == people
    tab.close()


@pytest.mark.browser
def test_ambiguous_and_unknown_faces_say_what_is_known(tab):
    ambiguous = tab.locator("#ambiguous .ambiguous li")
    close = ambiguous.filter(has_text="twins.jpg")
    assert close.locator("img").count() == 3
    said = close.text_content() or ""
    assert all(f"{twin}? " in said for twin in TWINS)
    twice = ambiguous.filter(has_text="already in this photo")
    assert titles(twice.locator("a")) == [DOUBLED]
    assert "Zoë" not in (twice.text_content() or "")
    once = tab.locator("#unknown li")
    assert once.count() == 2
    assert f"{TWINS[1]}? .400" in (once.nth(0).text_content() or "")
    assert "no similar person" in (once.nth(1).text_content() or "")
    card = tab.locator("#unknown-people article")
    assert card.locator("h3").inner_text() == "unknown-007"
    assert card.locator("img").count() == 5
    assert 'faceops name unknown-007 "Their Name" --gallery' in tab.locator("code").inner_text()
    assert "low_quality · 1 face" in tab.locator("#unusable").inner_text()
    assert "not_a_photo · 26 files" in tab.locator("#unusable").inner_text()


@pytest.mark.browser
def test_the_page_is_used_by_keyboard_alone(tab):
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
    tab.keyboard.type("/")
    tab.keyboard.type("ann/")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.closest('#found') !== null")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.closest('li').previousElementSibling !== null")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/report/people-*.html#r*")


@pytest.mark.browser
def test_without_scripts_the_page_can_be_read(page, browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.locator("#people h3").count() == 5
    assert tab.locator("#people img").count() >= 5
    assert not tab.locator("#search").is_visible()
    tab.locator("#unusable").get_by_text("All 26").click()
    assert tab.locator("a", has_text="note 00.txt").is_visible()
    context.close()


def test_a_report_that_only_guesses_a_person_goes_when_they_are_forgotten(page, tmp_path):
    run = tmp_path / "runs" / "20261129T120000Z-abcdef"
    shutil.copytree(page.parent, run)
    shutil.copyfile(page, tmp_path / "report.html")
    (tmp_path / "report").symlink_to(run / "report")
    done = ForgottenOutput(tmp_path)
    forget_in_files(done, lambda name: name == "Never Seen", [])
    assert done.reports == 0

    def traces() -> list[str]:
        found = search_traces([tmp_path], TWINS[1].__eq__, mentions([TWINS[1].casefold()]), [])
        return sorted(line.rpartition("/")[2] for line in found.found)

    places = ("ambiguous-1.html", "report.html", "report.html", "unknown-1.html")
    assert traces() == [f"{place}: the name, in a face" for place in places]
    forget_in_files(done, lambda name: name == TWINS[1], [])
    assert done.reports == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == [run.name, "runs", "state.sqlite"]
    assert traces() == []


def test_pages_without_the_first_one_are_removed(page, tmp_path):
    shutil.copytree(page.with_name("report"), tmp_path / "report")
    done = ForgottenOutput(tmp_path)
    forget_in_files(done, lambda name: False, [])
    assert done.reports == 1
    assert not (tmp_path / "report").exists()


def test_the_people_on_a_page_of_an_earlier_version_are_read(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(
        '<script type="application/json" id="faces">{"people":["A\\u003cb"],"root":""}</script>'
    )
    assert people_on(path) == ["A<b"]
    assert people_on(tmp_path / "none.html") == []


def test_a_report_of_nothing_and_of_files_alone(tmp_path):
    files = named_block(tmp_path / "album", ["a.txt", "b.txt"], np.zeros(2, int), [], {})
    for blocks, listed in (([], []), ([files], ["unusable-1.html"])):
        out = tmp_path / str(len(blocks))
        write_report(out, blocks)
        assert [path.name for path in (out / "report").iterdir()] == listed
        assert "Nobody was named" in (out / "report.html").read_text("utf-8")
        assert people_on(out / "report.html") == []


def test_pages_keep_groups_together_and_have_a_bounded_size():
    assert page_cuts([0], 5) == [0]
    assert page_cuts([0, 3, 5, 6], 5) == [0, 5]
    assert page_cuts([0, 3, 6], 5) == [0, 3]
    assert page_cuts([0, 2, 14, 15], 5) == [0, 2, 7, 12]
    draw = random.Random(4)
    for _ in range(100):
        starts = [0]
        for _ in range(draw.randrange(1, 20)):
            starts.append(starts[-1] + draw.randrange(1, 13))
        cuts = page_cuts(starts, 5)
        sizes = np.diff([*cuts, starts[-1]])
        assert sizes.min() > 0 and sizes.max() <= 5
        for start, stop in itertools.pairwise(starts):
            inside = [cut for cut in cuts if start < cut < stop]
            assert stop - start > 5 or not inside


def test_small_requests_are_met_in_full_and_the_others_get_equal_shares():
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
