"""Lists of people, one a line, as LFW's people*.txt and as anybody writes them."""

from pathlib import Path

from faceops.base.errors import UsageError
from faceops.dataset.names import name_key


def read_people_list(path: Path) -> list[str]:
    """Return the names in the file `path`, in its order, each once.

    A line is a name, or a name, a tab and a count, as in LFW's lists; lines of numbers only (the
    counts at the head of LFW's lists and folds), empty ones and comments (`#`) are skipped.

    Raises:
        UsageError: no such file, not text, or nobody in it.
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
        raise UsageError(f"{path} names nobody; write one name a line.")
    return list(names.values())
