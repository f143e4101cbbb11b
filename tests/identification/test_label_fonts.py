"""Names in any script are drawn with a font that has their letters, or as what can be read."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from faceops.base.reasons import DecisionKind
from faceops.gallery.people import rename
from faceops.gallery.store import Gallery
from faceops.identification.inputs import IdentifySettings
from faceops.identification.records import label_fonts
from faceops.identification.records.drawings import ShownFace, annotate, drawn_name, label_image
from faceops.identification.records.label_fonts import OWN, FontFile, lacking, text_runs
from faceops.identification.run import identify
from faceops.identification.summary import Summary

NAMES = {
    "LATIN": "Zoë Ångström",
    "CJK": "张伟",
    "HIRAGANA": "さくら",
    "HANGUL": "김민준",
    "DEVANAGARI": "प्रिया शर्मा",
    "ARABIC": "محمد علي",
    "HEBREW": "דוד כהן",
    "THAI": "สมชาย ใจดี",
    "CYRILLIC": "Дмитрий",
    "SYMBOL": "Ada 😀",
}
COLOUR = (22, 130, 70)


def forget_fonts() -> None:
    for cached in (label_fonts.find_font, label_fonts._has, label_fonts.load_font):
        cached.cache_clear()
    label_fonts._installed.cache_clear()
    label_fonts._has_shaping.cache_clear()
    label_fonts._used.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only folder of fonts of a system without fontconfig; empty."""
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    monkeypatch.setattr(label_fonts, "font_folders", lambda: [fonts])
    monkeypatch.setenv("PATH", str(tmp_path))
    forget_fonts()
    yield fonts
    monkeypatch.undo()
    forget_fonts()


def add_font(folder: Path, name: str, letters: str) -> FontFile:
    """Make a font whose letters are triangles of different heights; a missing one is a square."""

    def glyph(height: int, square: bool = False) -> Any:
        pen = TTGlyphPen(None)
        corners = [(0, 0), (0, height), (800, height)] + ([(800, 0)] if square else [])
        pen.moveTo(corners[0])
        for corner in corners[1:]:
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    names = {letter: f"u{ord(letter):x}" for letter in letters}
    heights = {each: 300 + 20 * place for place, each in enumerate(names.values())}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *heights])
    builder.setupCharacterMap({ord(letter): each for letter, each in names.items()})
    builder.setupGlyf(
        {".notdef": glyph(900, square=True)} | {each: glyph(h) for each, h in heights.items()}
    )
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *heights], (900, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(folder / f"{name}.ttf")
    return FontFile(str(folder / f"{name}.ttf"))


@pytest.mark.parametrize("script", NAMES)
def test_without_fonts_a_name_is_readable_and_the_script_is_said(folder, script):
    plain_name = {"LATIN": "Zoe Angstrom", "SYMBOL": "Ada"}.get(script, "face 0")
    assert drawn_name(NAMES[script], 0) == f"{plain_name}"
    assert drawn_name("😀", 3) == "face 3"
    found = lacking(NAMES[script])
    assert list(found) == [script] and found[script] in NAMES[script]
    shown = {"CJK": "Chinese characters", "SYMBOL": "symbols"}.get(script, script.title())
    assert f"names in {shown} are drawn without accents and symbols, or as face" in (
        label_fonts.advice(found)
    )
    photo, box = np.zeros((120, 200, 3), np.uint8), (20.0, 30.0, 60.0, 60.0)
    drawn, plain = (
        annotate(
            photo, [ShownFace(box, DecisionKind.IDENTIFIED, f"{drawn_name(name, 0)} 0.97", True)]
        )
        for name in (NAMES[script], plain_name)
    )
    assert drawn.tobytes() == plain.tobytes()


def test_the_font_changes_only_where_it_has_to(folder):
    add_font(folder, "Bold", "张伟")
    han = add_font(folder, "Han", "张伟 An")
    kana = add_font(folder, "Kana", "さくら")
    assert text_runs("Ann Lee") == [(OWN, "Ann Lee")]
    assert text_runs("Ann 张伟") == [(han, "Ann 张伟")]
    assert text_runs("Bea 张伟") == [(OWN, "Bea "), (han, "张伟")]
    assert text_runs("张伟 さくら") == [(han, "张伟"), (OWN, " "), (kana, "さくら")]
    assert lacking("张く伟ด") == {"THAI": "ด"}
    assert drawn_name("张伟", 0) == "张伟"
    one, other = (label_image(f"{name} 0.97", 200, COLOUR) for name in ("张伟", "伟张"))
    assert one.size == other.size and one.tobytes() != other.tobytes()


def test_letters_keep_their_marks_and_joiners(folder):
    marked = add_font(folder, "Marked", "दिx\u0332")
    add_font(folder, "Unmarked", "दy")
    assert text_runs("दि") == [(marked, "दि")]
    assert text_runs("द\u200d") == [(marked, "द\u200d")]
    assert [font for font, _ in text_runs("x\u0332")] == [marked]
    assert drawn_name("द\u200dx\u202e", 0) == "द\u200dx "
    assert drawn_name("\U0003347f", 0) == "face 0"  # of a later version of Unicode
    # What is remembered until a font is installed is what no font has.
    assert lacking("ÿz\u0332") == {"LATIN": "ÿ"} and lacking("z\u0332") == {"LATIN": "z\u0332"}


def test_without_text_layout_scripts_that_need_it_are_not_drawn(folder, monkeypatch):
    add_font(folder, "Some", "محدعلي张 ")
    assert lacking("محمد علي 张") == {}
    monkeypatch.setattr(label_fonts.features, "check_feature", lambda name: name != "fribidi")
    forget_fonts()
    assert lacking("محمد علي 张") == {"ARABIC": "م"}
    assert "libfribidi0" in label_fonts.advice({"ARABIC": "م"})


def test_fontconfig_chooses_where_it_is_installed(folder, tmp_path):
    add_font(folder, "Usual", "张")
    chosen = add_font(tmp_path, "Chosen", "张")
    fontconfig = tmp_path / "fc-match"
    script = f"#!/bin/sh\necho \"$3\" > {tmp_path}/asked\nprintf '{chosen.path}\\n0'"
    fontconfig.write_text(script)
    fontconfig.chmod(0o755)
    assert text_runs("张") == [(chosen, "张")]
    assert (tmp_path / "asked").read_text() == "sans-serif:color=false:charset=5f20\n"
    assert lacking("伟") == {"CJK": "伟"}


def test_a_copy_is_drawn_again_once_a_font_is_installed(
    synthetic_set, own_gallery, bundle, tmp_path, folder
):
    def run() -> Summary:
        settings = IdentifySettings(budget=0.3, annotate=True)
        return identify(photos, Gallery.open(own_gallery), bundle, tmp_path / "out", settings)

    photos = tmp_path / "photos"
    photos.mkdir()
    source = sorted((synthetic_set / "enrol").glob("*/*"))[0]
    shutil.copyfile(source, photos / "0.jpg")
    rename(own_gallery, source.parent.name, "张伟")
    assert run().letters_not_drawn == {"CJK": "张"}
    copy = tmp_path / "out" / "annotated" / "0.jpg.jpg"
    before = copy.read_bytes()
    assert run().unchanged
    add_font(folder, "Han", "张伟")
    forget_fonts()
    again = run()
    assert (again.unchanged, again.letters_not_drawn) == (False, {})
    assert copy.read_bytes() != before and run().unchanged
