"""The page in a real browser: no name runs a script; keys, touch and screen readers can use it."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.review.conftest import IMAGE, PEOPLE, SCRIPT, Served, until

pytestmark = pytest.mark.browser

CONTROLS_WITHOUT_A_NAME = """() => {
  const text = (node) => node?.textContent.trim() ?? "";
  const byId = (ids) => ids.split(" ").map((id) => text(document.getElementById(id))).join("");
  const named = (node) => node.getAttribute("aria-label") || text(node)
    || byId(node.getAttribute("aria-labelledby") ?? "")
    || Array.from(node.labels ?? []).map(text).join("") || node.querySelector("img")?.alt;
  const lists = "[role=listbox], [role=option], dialog, nav, aside";
  return Array.from(document.querySelectorAll(`a, button, input, select, ${lists}`))
    .filter((node) => node.type !== "hidden" && !node.closest("[aria-hidden=true]") && !named(node))
    .map((node) => node.outerHTML.slice(0, 120));
}"""
FOCUS = "document.activeElement.closest('.face')?.face.key"


@pytest.fixture(scope="module")
def context(browser: Any, served: Served) -> Iterator[Any]:
    """A browser that has opened the first address."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    tab = context.new_page()
    tab.goto(served.access.url)
    tab.wait_for_url("**/confirm")
    tab.close()
    yield context
    context.close()


@pytest.fixture
def tab(context: Any, served: Served) -> Iterator[Any]:
    """A tab, in which no error may occur and no foreign address be asked for."""
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda it: errors.append(it.text) if "Content Security" in it.text else None)
    own = f"http://127.0.0.1:{served.access.port}/"
    page.on("request", lambda it: None if it.url.startswith(own) else errors.append(it.url))
    yield page
    page.close()
    assert errors == []


def go(tab: Any, served: Served, path: str) -> None:
    tab.goto(f"http://127.0.0.1:{served.access.port}{path}")


def open_pile(tab: Any, served: Served) -> list[str]:
    """Open the first pile; return the keys of its faces."""
    go(tab, served, f"/confirm/{quote(served.album.piles()[0].person, safe='')}")
    tab.wait_for_selector(".face")
    return list(tab.locator(".face").evaluate_all("faces => faces.map((one) => one.face.key)"))


def latest(served: Served) -> list[tuple[str, int, bool]]:
    return [(one.sentence, one.faces, one.undone) for one in served.album.history(0, 3)]


def pages(served: Served) -> dict[str, str]:
    album = served.album
    key = album.piles()[0].keys[0]
    of_person = f"/people/{quote(IMAGE, safe='')}"
    return {
        "piles": "/confirm",
        "pile": of_person.replace("people", "confirm"),
        "people": "/people",
        "person": of_person,
        "groups": "/unknown",
        "group": f"/unknown/{album.groups()[0].name}",
        "photo": f"/photo/{key.partition('.')[0]}",
        "why": f"/why/{key}",
        "history": "/history",
        "doctor": "/doctor",
        "search": "/search?q=img",
        "no page": "/nothing",
    }


def test_every_page_fits_is_named_and_runs_no_script_of_a_name(tab, served):
    for name, path in pages(served).items():
        go(tab, served, path)
        tab.wait_for_timeout(100)
        assert tab.title() != "owned", name
        assert tab.evaluate("document.querySelector('img[src=x], svg[onload]')") is None, name
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 844})
            assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
        assert tab.evaluate(CONTROLS_WITHOUT_A_NAME) == [], name
        landmarks = tab.locator("header nav, main, [role=search]").count()
        assert landmarks == 3 and tab.locator("h1").count() == 1, name
        small = tab.locator("main button:visible, main .face:visible").evaluate_all(
            "all => all.filter((one) => one.getBoundingClientRect().height < 36).length"
        )
        assert small == 0, name
        if name == "people":
            assert set(PEOPLE) <= set(tab.locator("h3").all_inner_texts())


def test_keys_confirm_refuse_ignore_and_undo(tab, served):
    keys = open_pile(tab, served)
    go(tab, served, "/confirm")
    tab.keyboard.press("y")  # opens the first pile
    tab.wait_for_selector(".face")
    person = served.album.piles()[0].person
    assert tab.evaluate(FOCUS) == keys[0]
    tab.keyboard.press("y")
    assert tab.locator(".face").count() == len(keys) - 1
    assert tab.evaluate(FOCUS) == keys[1]  # the focus stays in the list
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert tab.locator("#toast").inner_text().startswith(f"1 face confirmed as {person}")
    until(lambda: latest(served)[0] == (f"1 face confirmed as {person}", 1, False))
    tab.keyboard.press("n")
    until(lambda: latest(served)[0] == (f"1 face is not {person}", 1, False))
    tab.keyboard.press("i")
    tab.keyboard.press("2")
    until(lambda: latest(served)[0] == ("1 face ignored: no faces", 1, False))
    tab.keyboard.press("s")
    assert tab.evaluate(FOCUS) == keys[4]
    for back in (keys[3], keys[2], keys[1], keys[0]):
        tab.keyboard.press("u")
        until(lambda back=back: tab.evaluate(FOCUS) == back)  # type: ignore[misc]
    assert tab.locator(".face").count() == len(keys)
    until(lambda: sum(one.sentence.startswith("undone") for one in served.album.history()) == 3)


def test_what_is_said_on_a_phone_covers_no_button(tab, served):
    tab.set_viewport_size({"width": 390, "height": 844})
    open_pile(tab, served)
    tab.keyboard.press("y")
    said = tab.locator("#toast").bounding_box()
    assert said["y"] + said["height"] <= tab.locator(".actions").bounding_box()["y"]
    tab.keyboard.press("u")
    until(lambda: latest(served)[0][0].startswith("undone"))


def test_a_range_is_confirmed_at_once_and_undone_from_the_history(tab, served):
    keys = open_pile(tab, served)
    tab.keyboard.press("ArrowRight")
    for _ in range(2):
        tab.keyboard.press("Shift+ArrowRight")
    assert tab.locator("[data-selected]").inner_text() == "3 faces selected"
    assert tab.locator("[aria-selected=true]").count() == 3
    tab.keyboard.press("Enter")
    left = [keys[0], *keys[4:]]
    assert tab.locator(".face").evaluate_all("all => all.map((one) => one.face.key)") == left
    until(lambda: latest(served)[0][1] == 3)
    go(tab, served, "/history")
    tab.locator("ol li").first.get_by_role("button").click()
    until(lambda: latest(served)[1][2])
    tab.wait_for_selector("#toast :text('undone')")


def test_all_that_is_shown_is_confirmed_and_the_next_pile_follows(tab, served):
    keys = open_pile(tab, served)
    first, second = served.album.piles()[:2]
    tab.get_by_role("button", name=f"Confirm all {len(keys)} shown").click()
    tab.wait_for_url(lambda url: unquote(url).endswith(f"/confirm/{second.person}"))
    assert tab.locator("h1").inner_text() == f"{second.shown}?"
    assert tab.locator(".face").count() > 0
    assert f"Is this {second.shown}?" in tab.locator("#page").inner_text()
    until(lambda: latest(served)[0][1] == len(keys))
    tab.keyboard.press("u")
    tab.wait_for_url(lambda url: unquote(url).endswith(f"/confirm/{first.person}"))
    until(lambda: latest(served)[1][2])


def test_single_keys_refusals_and_the_way_back_from_a_photo(tab, served):
    keys = open_pile(tab, served)
    tab.keyboard.press("?")
    assert tab.locator("#keys").is_visible()
    tab.get_by_label("Switch single keys off").check()
    tab.keyboard.press("Escape")
    tab.keyboard.press("n")
    assert tab.locator(".face").count() == len(keys)
    tab.evaluate("localStorage.clear()")
    tab.reload()
    tab.wait_for_selector(".face")
    # A decision that is refused comes back with the sentence.
    tab.keyboard.press("e")
    tab.keyboard.type("a\u200bb")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#alert span")
    assert "cannot be a person's name" in tab.locator("#alert").inner_text()
    assert tab.locator(".face").evaluate_all("all => all.map((one) => one.face.key)") == keys
    assert tab.evaluate(FOCUS) == keys[0]
    # Back from another page, the face that was looked at has the focus.
    tab.keyboard.press("ArrowRight")
    for key, page in (("o", "photo"), ("w", "why")):
        tab.keyboard.press(key)
        tab.wait_for_url(f"**/{page}/**")
        tab.go_back()
        until(lambda: tab.evaluate(FOCUS) == keys[1])


def test_a_box_is_drawn_and_named_by_keyboard_and_by_mouse(tab, served):
    photo_id = served.album.piles()[-1].keys[0].partition(".")[0]
    go(tab, served, f"/photo/{photo_id}")
    before = tab.locator("button.box").count()
    tab.keyboard.press("b")
    left = tab.evaluate("document.activeElement.offsetLeft")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Shift+ArrowRight")
    assert tab.evaluate("document.activeElement.offsetLeft") < left
    tab.keyboard.press("Enter")
    tab.keyboard.type("Gone Gregor")
    tab.keyboard.press("Enter")
    until(lambda: tab.evaluate(f"document.querySelectorAll('button.box').length === {before + 1}"))
    assert "Gone Gregor" in served.album.people
    assert tab.get_by_role("button", name="Gone Gregor, confirmed").count() == 1
    tab.keyboard.press("u")
    until(lambda: tab.locator("button.box").count() == before)
    frame = tab.locator(".photo").bounding_box()
    tab.get_by_role("button", name="Draw a box").click()
    tab.mouse.move(frame["x"] + 10, frame["y"] + 10)
    tab.mouse.down()
    tab.mouse.move(frame["x"] + 60, frame["y"] + 90)
    tab.mouse.up()
    tab.keyboard.type("Gone Gregor")
    tab.keyboard.press("Enter")
    until(lambda: tab.get_by_role("button", name="Gone Gregor, confirmed").count() == 1)


def test_a_person_is_renamed_and_forgotten_only_by_the_typed_name(tab, served):
    go(tab, served, f"/people/{quote(PEOPLE[1], safe='')}")

    def rename(name: str) -> None:
        tab.get_by_text("Rename", exact=True).first.click()
        tab.get_by_label("New name").fill(name)
        tab.keyboard.press("Enter")
        tab.keyboard.press("Enter")  # as people do
        tab.wait_for_url(lambda url: unquote(url).endswith(f"/people/{name}"))

    rename("Somebody Else")
    tab.locator("#toast button").click()
    tab.wait_for_url(lambda url: unquote(url).endswith(f"/people/{PEOPLE[1]}"))
    tab.wait_for_selector(".face")
    rename(SCRIPT)
    assert tab.locator("h1").inner_text() == SCRIPT
    assert tab.title() == f"{SCRIPT} · FaceOps"
    tab.get_by_text("Forget", exact=True).click()
    tab.get_by_label("to confirm").fill("somebody else")
    tab.get_by_role("button", name="Forget for good").click()
    tab.wait_for_selector("#alert span")
    assert SCRIPT in served.album.people
    tab.get_by_label("to confirm").fill(SCRIPT)
    tab.get_by_role("button", name="Forget for good").click()
    tab.wait_for_url("**/people")
    assert SCRIPT not in served.album.people
    assert SCRIPT not in tab.locator("body").inner_text()
    assert SCRIPT not in tab.evaluate(
        "JSON.parse(sessionStorage.undoable).map(({ text }) => text).join()"
    )


def test_a_group_gets_a_name_and_the_results_have_it_when_published(tab, served):
    go(tab, served, "/unknown")
    group = served.album.groups()[0]
    card = tab.locator(".cards > li").filter(has_text=group.name)
    card.get_by_label(f"Name of {group.name}").fill("Newly Named")
    tab.keyboard.press("Enter")
    until(lambda: tab.evaluate("document.querySelector('#question[open], #publish:not([hidden])')"))
    if tab.locator("#question").is_visible():
        tab.get_by_role("button", name="Do it all the same").click()
    until(lambda: "Newly Named" in served.album.people)
    tab.locator("#publish").click()
    tab.wait_for_selector("#publish", state="hidden", timeout=20_000)
    assert "Newly Named" in (served.found / "faces.csv").read_text("utf-8")
