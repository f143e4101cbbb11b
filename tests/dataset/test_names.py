"""One person is one name, however it is spelt."""

from pathlib import Path

import pytest

from faceops.base.errors import UsageError
from faceops.dataset.names import folder_name, is_well_formed, name_key, read_people_list


@pytest.mark.parametrize(
    "spelling",
    [
        "George_W_Bush",
        "george w bush",
        "George W. Bush",
        "GEORGE-W-BUSH",
        " George  W_Bush ",
        "Ｇeorge W Bush",
    ],
)
def test_spellings_of_one_person_share_a_key(spelling: str) -> None:
    assert name_key(spelling) == "george w bush" != name_key("George Bush")


@pytest.mark.parametrize("name", ["Straße", "ǅ", "ﬁona İpek", "Ångström", "a.-_b"])
def test_the_key_of_a_key_is_the_key(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


@pytest.mark.parametrize(
    ("spelling", "folder"),
    [
        ("George W. Bush", "George_W_Bush"),
        ("george-w-bush", "George_W_Bush"),
        ("GEORGE BUSH", "George_Bush"),
        ("Abdel_Aziz_Al-Hakim", "Abdel_Aziz_Al-Hakim"),
        ("AJ_Cook", "AJ_Cook"),
        ("digit_0", "digit_0"),
        ("CelebA_17", "CelebA_17"),
        ("李 小龙", "李_小龙"),
    ],
)
def test_folder_form(spelling: str, folder: str) -> None:
    assert folder_name(spelling) == folder
    assert folder_name(folder) == folder
    assert name_key(spelling) == name_key(folder)


@pytest.mark.parametrize("name", ["Ann_Lee", "Seán_O'Neil", "Al-Hakim", "digit_0", "李_小龙"])
def test_well_formed_names(name: str) -> None:
    assert is_well_formed(name)
    assert not any(map(is_well_formed, (f" {name}", f".{name}", f"-{name}", f"{name}/", name * 40)))


def test_ill_formed_names() -> None:
    assert not any(map(is_well_formed, ("", "__", "a/b", "a\nb", "a:b", "a\u202eb")))


def test_lists_of_people_are_read(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# friends\n2\nAnn_Lee\t3\nann lee\n\nBo Day\n")
    assert read_people_list(path) == ["Ann_Lee", "Bo Day"]
    path.write_text("10\n")
    with pytest.raises(UsageError, match="has no names"):
        read_people_list(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_people_list(tmp_path / "nowhere.txt")
