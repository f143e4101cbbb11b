"""Every name that a person has had leads to them."""

import pytest

from faceops.gallery.names import current_key, keys_of_person

ALIASES = {"ann lee": "A. King", "a king": "Ada", "ben": "Ada", "cleo": "Clea"}


@pytest.mark.parametrize("name", ["Ann_Lee", "a. king", "ADA", "Ben"])
def test_any_name_finds_all_names(name: str) -> None:
    assert current_key(ALIASES, name) == "ada"
    assert keys_of_person(ALIASES, name) == {"ada", "ben", "a king", "ann lee"}


def test_other_people_keep_theirs() -> None:
    assert keys_of_person(ALIASES, "Clea") == {"clea", "cleo"}
    assert keys_of_person(ALIASES, "Dora") == {"dora"}


def test_a_ring_of_aliases_ends() -> None:
    assert current_key({"a": "b", "b": "a"}, "a") in {"a", "b"}
