"""Names of people: spellings of one name are one person."""

import re
import unicodedata
from pathlib import Path

from faceops.base.errors import UsageError
from faceops.base.files import valid_unicode

_SEPARATORS = re.compile(r"[\s_.\-]+")
_PART_ENDS = re.compile(r"[\s_.]+")
_LONGEST = 100


def name_key(name: str) -> str:
    """Return the key that all spellings of a name share.

    `George_W_Bush`, `george w. bush` and `George-W-Bush` have the key `george w bush`: compatible
    characters are one (NFKC), case does not count, spaces, `-`, `.` and `_` are one space.
    """
    if name.isascii():  # a gallery has many names
        folded = name.lower()
    else:
        folded = unicodedata.normalize("NFKC", name).casefold()
        # Normalised again, because folding can undo it: the key of a key must be the key.
        folded = unicodedata.normalize("NFKC", folded)
    return " ".join(folded.replace("_", " ").replace(".", " ").replace("-", " ").split())


def person_key(name: str) -> str:
    """Return the key that all spellings of a name share: `Ann_Lee` and `ann-lee` have one."""
    return name_key(name) or name


def display_name(name: str) -> str:
    """Return a folder's name as the name that is shown: `Ann_Lee` is `Ann Lee`."""
    return " ".join(valid_unicode(name).replace("_", " ").split())


def folder_name(name: str) -> str:
    """Return `name` as the name of a person's folder: `george w. bush` is `George_W_Bush`.

    Spaces and `.` end a part, and so does `-` where nothing else does (`Al-Hakim` in a longer name
    stays). A name all in lower or upper case gets a capital at each part, unless it has digits.
    """
    # A slash may come from a compatible character, in a name from an archive.
    name = unicodedata.normalize("NFKC", name).replace("/", " ").strip(" _.-\t")
    ends = _PART_ENDS if _PART_ENDS.search(name) else _SEPARATORS
    parts = [part for part in ends.split(name) if part]
    joined = "".join(parts)
    if any(character.isdigit() for character in joined):
        return "_".join(parts)  # a code, not a name
    if joined.islower() or (joined.isupper() and len(joined) > 2):
        parts = [part[:1].upper() + part[1:].lower() for part in parts]
    return "_".join(parts)


JOINERS = "\u200c\u200d\u180e"
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # not characters of later versions of Unicode
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffe\uffff"
_VIRAMA = 9  # canonical combining class


def name_problem(name: str) -> str:
    """Return why `name` cannot be a person's name, "" if it can: the one rule for all names.

    It needs a letter, digit or symbol. Characters that nobody sees are refused, since one person
    would look like two: control characters, zero widths, bidirectional controls, fillers. Joiners
    stay where the writing needs them, see `_joins`.
    """
    for place, character in enumerate(name):
        hidden = unicodedata.category(character) in HIDDEN or character in _FILLERS
        if hidden and not _joins(name, place):
            if "\ud800" <= character <= "\udfff":
                return "it is not UTF-8"
            what = unicodedata.name(character, "a control character")
            return f"it has the invisible character U+{ord(character):04X} ({what})"
    if all(unicodedata.category(each)[0] in "MPZ" or each in JOINERS for each in name):
        return "it has no letter or digit"
    return ""


def given_name(text: str) -> str:
    """Return a name that a user typed, as it is shown. Raises UsageError: see `name_problem`."""
    if problem := name_problem(valid_unicode(text)):
        raise UsageError(f"{text!r} cannot be a person's name: {problem}; choose another one.")
    return display_name(text)


def _joins(name: str, place: int) -> bool:
    """Return whether the character at `place` is a joiner where the writing needs one.

    Beside a virama, as in Indic names, or between letters of the Arabic scripts or of Mongolian,
    marks aside (cf. RFC 5892, appendix A), or between emoji.
    """
    if name[place] not in JOINERS:
        return False
    before, after = name[:place], name[place + 1 : place + 2]
    if any(unicodedata.combining(one) == _VIRAMA for one in before[-1:] + after):
        return True
    letters = "".join(one for one in before if unicodedata.category(one)[0] != "M")[-1:] + after
    return len(letters) == 2 and all(
        unicodedata.bidirectional(one) == "AL"
        or unicodedata.name(one, "")[:9] == "MONGOLIAN"
        or unicodedata.category(one) == "So"
        for one in letters
    )


def is_well_formed(name: str) -> bool:
    """Return whether `name` can be a person's folder in a data set.

    A name without a problem, of letters, digits, marks, and the punctuation of names, in one
    spelling of its spaces, at most 100 characters.
    """
    is_shown = name == name.strip() and not name.startswith((".", "-"))
    if name_problem(name) or not is_shown or len(name) > _LONGEST:
        return False
    letters = "".join(one for one in name if one not in _PUNCTUATION + JOINERS)
    return bool(letters) and all(unicodedata.category(one)[0] in "LNM" for one in letters)


# Of names in Latin letters, and of Chinese, Japanese, Catalan, Hebrew and Tibetan ones.
_PUNCTUATION = " _-.'’,()·・׳״་"


def read_people_list(path: Path) -> list[str]:
    """Return the names in the file `path`, in its order, each once.

    A line is a name, or a name, a tab and a count, as in LFW's lists; lines of numbers only (the
    counts at the head of LFW's lists and folds), empty ones and comments (`#`) are skipped.

    Raises UsageError: no such file, not text, or no name in it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name a list of people, one a line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text ({error}); name another list.") from None
    names: dict[str, str] = {}
    for line in lines:
        name = line.split("\t")[0].strip()
        if name and not name.startswith("#") and not name.isdigit():
            names.setdefault(name_key(name), name)
    if not names:
        raise UsageError(f"{path} has no names; write one name per line.")
    return list(names.values())
