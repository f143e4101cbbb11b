"""Fonts for names in any script: which installed font has the letters of a label.

Pillow's own font has hardly more than ASCII. For other letters, fontconfig is asked where it is
installed, else the usual folders are searched. Whether a font has a letter is seen by drawing it:
letters that it lacks all look the same.
"""

import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont, features

from faceops.dataset.names import HIDDEN

_ABSENT = "\U0010ffff"  # no character: every font draws its sign for a missing one
_TRIED_SIZE = 16  # pixels, at which letters are compared
JOINERS = {"\u200c", "\u200d", *map(chr, range(0xFE00, 0xFE10))}  # change letters beside them
_PLACEHOLDERS = ("lastresort", "adobeblank", "notdef")  # fonts that have a sign for everything
_STYLES = ("bold", "italic", "oblique", "black", "light", "thin", "condensed", "mono", "serif")
_CJK = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"}
# Scripts that are written from right to left, or whose letters change their shape or order.
_SHAPED = {
    *("ARABIC", "HEBREW", "SYRIAC", "THAANA", "NKO", "DEVANAGARI", "BENGALI", "GURMUKHI"),
    *("GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "TIBETAN"),
    *("MYANMAR", "KHMER", "MONGOLIAN", "BALINESE", "JAVANESE"),
}
SYMBOL = "SYMBOL"


class FontFile(NamedTuple):
    """A font of the system, the one with that number in its file; `path` is "" for Pillow's own."""

    path: str
    number: int = 0


OWN = FontFile("")


def text_runs(text: str) -> list[tuple[FontFile, str]]:
    """Return the parts of `text` with the font that has their letters; see `lacking`.

    The font changes only where it has to, and not within a word if a font has all of it.
    """
    clusters = list(_clusters(text))
    chosen = [find_font(cluster) or OWN for cluster in clusters]
    font = next((each for each in chosen if each != OWN), OWN)
    fonts: list[FontFile] = []
    for cluster, other in zip(clusters, chosen, strict=True):
        if not _has(font, cluster):
            font = other
        fonts.append(font)
    # A space at the end of a part from right to left would lie on the wrong side.
    for place in range(1, len(clusters) - 1):
        if clusters[place].isspace() and fonts[place - 1] != fonts[place + 1]:
            fonts[place] = OWN
    pairs = groupby(zip(fonts, clusters, strict=True), key=lambda pair: pair[0])
    return [(font, "".join(part for _, part in run)) for font, run in pairs]


def lacking(text: str) -> dict[str, str]:
    """Return a letter, with its marks, for each script in `text` that cannot be drawn.

    The keys are the first words of Unicode's character names, such as "THAI".
    """
    found: dict[str, str] = {}
    for cluster in _clusters(text):
        if (script := script_of(cluster)) not in found and find_font(cluster) is None:
            found[script] = cluster
    return found


def without_hidden(text: str) -> str:
    """Return the text with spaces for control characters and others that nobody sees."""
    hidden = (each for each in text if unicodedata.category(each) in HIDDEN)
    return text.translate({ord(each): " " for each in hidden if each not in JOINERS})


def without_marks(text: str) -> str:
    """Return the text without accents, other marks and symbols: `Zoë 😀` is `Zoe`."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(each for each in letters if unicodedata.category(each)[0] not in "MS").strip()


def script_of(cluster: str) -> str:
    """Return the script of a letter: the first word of its Unicode name."""
    if unicodedata.category(cluster[0]).startswith("S"):
        return SYMBOL
    return unicodedata.name(cluster[0], "?").replace("-", " ").split()[0]


def advice(scripts: dict[str, str]) -> str:
    """Return one sentence about names in `scripts`, see `lacking`, or "" if there are none."""
    if not scripts:
        return ""
    packages = {
        "fonts-noto-cjk" if script in _CJK else "fonts-symbola"
        if script == SYMBOL else "fonts-noto-core fonts-noto-extra"
        for script in scripts
    }  # fmt: skip
    install = f"install fonts for them (Debian, Ubuntu: {' '.join(sorted(packages))})"
    if not _has_shaping() and not _SHAPED.isdisjoint(scripts):
        install += " and FriBiDi (libfribidi0), which orders and joins their letters"
    names = {"CJK": "Chinese characters", SYMBOL: "symbols"}
    shown = ", ".join(names.get(script, script.title()) for script in sorted(scripts))
    return (
        f"names in {shown} are drawn without accents and symbols, or as face numbers (face_index "
        f"in faces.csv), because no font has their letters: {install}, and run this again"
    )


@lru_cache(maxsize=4096)
def find_font(cluster: str) -> FontFile | None:
    """Return a font that has all letters of `cluster`; None if no font has, or none can order them.

    Fonts that have letters of earlier labels are tried first: labels share few fonts, and
    fontconfig is seldom asked.
    """
    if script_of(cluster) in _SHAPED and not _has_shaping():
        return None
    for font in (OWN, *_used):
        if _has(font, cluster):
            return font
    for font in _candidates(cluster):
        if _has(font, cluster):
            _used[font] = None
            return font
    return None


_used: dict[FontFile, None] = {}


@lru_cache(maxsize=64)
def load_font(
    font: FontFile, size: int, layout: ImageFont.Layout | None = None
) -> ImageFont.FreeTypeFont:
    """Return the font at `size` pixels.

    Raises OSError: it cannot be loaded, or has pictures of one size only, as colour emoji have.
    """
    if not font.path:
        own = ImageFont.load_default(size)
        assert isinstance(own, ImageFont.FreeTypeFont)
        return own
    return ImageFont.truetype(font.path, size, font.number, layout_engine=layout)


def _clusters(text: str) -> Iterator[str]:
    """Yield the letters of a text, each with its marks and joiners."""
    cluster = ""
    for letter in unicodedata.normalize("NFC", text):
        joins = letter in JOINERS or unicodedata.category(letter).startswith("M")
        if cluster and not joins:
            yield cluster
            cluster = ""
        cluster += letter
    if cluster:
        yield cluster


@lru_cache(maxsize=16384)
def _has(font: FontFile, cluster: str) -> bool:
    letters = [each for each in cluster if each not in JOINERS and not each.isspace()]
    try:
        # Not shaped, which would draw a mark alone on a dotted circle.
        loaded = load_font(font, _TRIED_SIZE, ImageFont.Layout.BASIC)
        none = (b"", bytes(loaded.getmask(_ABSENT)))
        return all(bytes(loaded.getmask(letter)) not in none for letter in letters)
    except OSError:
        return False


@lru_cache(maxsize=1)
def _has_shaping() -> bool:
    return bool(features.check_feature("raqm") and features.check_feature("fribidi"))


def _candidates(cluster: str) -> Iterator[FontFile]:
    """Yield fonts that may have the letters: fontconfig's choice, or all in the usual folders."""
    if fontconfig := shutil.which("fc-match"):
        charset = " ".join(f"{ord(letter):x}" for letter in cluster if letter not in JOINERS)
        pattern = f"sans-serif:color=false:charset={charset}"
        command = [fontconfig, "-f", "%{file}\n%{index}", pattern]
        with suppress(OSError, subprocess.SubprocessError, ValueError):
            done = subprocess.run(command, capture_output=True, timeout=10, check=True)
            path, _, index = os.fsdecode(done.stdout).rpartition("\n")
            yield FontFile(path, int(index))
            return  # if it does not have them, no font has
    yield from _installed()


@lru_cache(maxsize=1)
def _installed() -> list[FontFile]:
    found = [
        path
        for folder in font_folders()
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (".ttf", ".otf", ".ttc", ".otc")
        and not any(name in path.stem.lower().replace("-", "") for name in _PLACEHOLDERS)
    ]
    found.sort(key=lambda path: sum(style in path.stem.lower() for style in _STYLES))
    return [FontFile(str(path)) for path in found]


def font_folders() -> list[Path]:
    """Return the folders in which this system keeps fonts."""
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = os.environ.get("XDG_DATA_HOME") or home / ".local/share"
    return [home / ".fonts", *(Path(each) / "fonts" for each in (own, *shared.split(":")))]
