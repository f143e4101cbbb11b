"""Earlier names lead to the person, and paths as they are shown lead to the files."""

from pathlib import Path

import pytest

from faceops.base.files import valid_unicode
from faceops.gallery.names import current_key, keys_of_person, paths_shown_as

ALIASES = {"ann lee": "A. King", "a king": "Ada", "ben": "Ada", "cleo": "Clea"}


@pytest.mark.parametrize("name", ["Ann_Lee", "a. king", "ADA", "Ben"])
def test_any_name_gives_all_names(name: str) -> None:
    assert current_key(ALIASES, name) == "ada"
    assert keys_of_person(ALIASES, name) == {"ada", "ben", "a king", "ann lee"}


def test_names_of_other_people_are_not_included_and_a_cycle_ends() -> None:
    assert keys_of_person(ALIASES, "Clea") == {"clea", "cleo"}
    assert keys_of_person(ALIASES, "Dora") == {"dora"}
    assert current_key({"a": "b", "b": "a"}, "a") in {"a", "b"}


def test_a_path_that_is_not_utf_8_is_found_by_how_it_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    real = [folder / "b\udcff.jpg", folder / "b\\xff.jpg"]
    for path in [*real, folder / "plain.jpg"]:
        path.touch()
    shown = valid_unicode(real[0].relative_to(tmp_path).as_posix())
    assert shown == "caf\\xe9/b\\xff.jpg"
    assert sorted(paths_shown_as(tmp_path, shown)) == sorted(real)
    assert paths_shown_as(tmp_path, "caf\\xe9/plain.jpg") == [folder / "plain.jpg"]
    assert paths_shown_as(tmp_path, "caf\\xe9/none.jpg") == []
    assert paths_shown_as(tmp_path, "none\\xe9/none.jpg") == []
