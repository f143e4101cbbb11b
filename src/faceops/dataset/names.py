"""Names of people: spellings of one name are one person."""

import re
import unicodedata
from pathlib import Path

from faceops.base.errors import UsageError

_SEPARATORS = re.compile(r"[\s_.\-]+")
_PART_ENDS = re.compile(r"[\s_.]+")
_LONGEST = 100


def name_key(name: str) -> str:
    """Return the key that all spellings of a name share.

    `George_W_Bush`, `george w. bush` and `George-W-Bush` have the key `george w bush`: compatible
    characters are one (NFKC), case does not count, spaces, `-`, `.` and `_` are one space.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    # Normalised again, because folding can undo it: the key of a key must be the key.
    folded = unicodedata.normalize("NFKC", folded)
    return _SEPARATORS.sub(" ", folded).strip()


def folder_name(name: str) -> str:
    """Return `name` as the name of a person's folder: `george w. bush` is `George_W_Bush`.

    Spaces and `.` end a part, and so does `-` where nothing else does (`Al-Hakim` in a longer name
    stays). A name all in lower or upper case gets a capital at each part, unless it has digits.
    """
    name = unicodedata.normalize("NFKC", name).strip(" _.-\t")
    ends = _PART_ENDS if _PART_ENDS.search(name) else _SEPARATORS
    parts = [part for part in ends.split(name) if part]
    joined = "".join(parts)
    if any(character.isdigit() for character in joined):
        return "_".join(parts)  # a code, not a name
    if joined.islower() or (joined.isupper() and len(joined) > 2):
        parts = [part[:1].upper() + part[1:].lower() for part in parts]
    return "_".join(parts)


def is_well_formed(name: str) -> bool:
    """Return whether `name` can be a person's folder.

    Letters, digits, marks and apostrophes, parts joined by one of ` _-.`, at least one letter or
    digit, at most 100 characters, nothing that is hidden or that a file system refuses.
    """
    if not name or len(name) > _LONGEST or name != name.strip() or name.startswith((".", "-")):
        return False
    letters = "".join(character for character in name if character not in " _-.'’,()")
    return all(unicodedata.category(letter)[0] in "LNM" for letter in letters) and any(
        letter.isalnum() for letter in letters
    )


def read_people_list(path: Path) -> list[str]:
    """Return the names in the file `path`, in its order, each once.

    A line is a name, or a name, a tab and a count, as in LFW's lists; lines of numbers only (the
    counts at the head of LFW's lists and folds), empty ones and comments (`#`) are skipped.

    Raises:
        UsageError: no such file, not text, or no name in it.
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
