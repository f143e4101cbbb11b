"""Names of people and paths of files, as they are stored and shown.

`people rename` and `people merge` keep the earlier name in the gallery's aliases, because results
keep the name that the person had when they were made.
"""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from faceops.base.errors import UsageError
from faceops.base.files import valid_unicode
from faceops.dataset.names import name_key, name_problem


def display_name(name: str) -> str:
    """Return a folder's name as the name that is shown: `Ann_Lee` is `Ann Lee`."""
    return " ".join(valid_unicode(name).replace("_", " ").split())


def given_name(text: str) -> str:
    """Return a name that a user typed, as it is shown. Raises UsageError: see `name_problem`."""
    if problem := name_problem(valid_unicode(text)):
        raise UsageError(f"{text!r} cannot be a person's name: {problem}; choose another one.")
    return display_name(text)


def as_arguments(*names: str) -> str:
    """Return names as the last arguments of a shell command; one may begin with `-`."""
    first = ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join([*first, *names])


def person_key(name: str) -> str:
    """Return the key that all spellings of a name share: `Ann_Lee` and `ann-lee` have one."""
    return name_key(name) or name


def paths_shown_as(folder: Path, shown: str) -> list[Path]:
    """Return the existing paths below `folder` that `valid_unicode` shows as `shown` (with /).

    There may be two, since a name may itself contain a backslash. Folders are listed only for
    parts with a backslash; one that may not be listed counts as empty.
    """
    paths = [folder]
    for part in Path(shown).parts:
        parents, paths = paths, []
        for parent in parents:
            if "\\" not in part:
                paths.append(parent / part)
                continue
            with suppress(OSError):
                paths += sorted(p for p in parent.iterdir() if valid_unicode(p.name) == part)
    return [path for path in paths if path.exists()]


def current_key(aliases: Mapping[str, str], name: str) -> str:
    """Return the key (`person_key`) of the name that the person `name` has now, in any spelling."""
    key = person_key(display_name(name))
    visited = {key}
    while key in aliases:
        key = person_key(aliases[key])
        if key in visited:  # only a file that was edited by hand has a cycle
            break
        visited.add(key)
    return key


def keys_of_person(aliases: Mapping[str, str], name: str) -> frozenset[str]:
    """Return the keys of every name of the person who is, or was, called `name`."""
    current = current_key(aliases, name)
    earlier = {key for key in aliases if current_key(aliases, key) == current}
    return frozenset({current, *earlier, person_key(display_name(name))})
