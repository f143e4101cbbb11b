"""All the names that one person has had: results keep the name that was theirs when they were made.

`people rename` and `people merge` leave the earlier name in the gallery's aliases.
"""

from collections.abc import Mapping

from faceops.gallery.person_name import display_name, person_key


def current_key(aliases: Mapping[str, str], name: str) -> str:
    """Return the key (`person_key`) of the name that the person `name` has now, in any spelling."""
    key = person_key(display_name(name))
    passed = {key}
    while key in aliases:
        key = person_key(aliases[key])
        if key in passed:  # only a file that was edited by hand has a ring
            break
        passed.add(key)
    return key


def keys_of_person(aliases: Mapping[str, str], name: str) -> frozenset[str]:
    """Return the keys of every name of the person who is, or was, called `name`."""
    current = current_key(aliases, name)
    earlier = {key for key in aliases if current_key(aliases, key) == current}
    return frozenset({current, *earlier, person_key(display_name(name))})
