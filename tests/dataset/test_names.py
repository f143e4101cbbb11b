"""One person is one name, however it is spelt."""

import pytest

from faceops.base.errors import UsageError
from faceops.dataset.names import (
    folder_name,
    given_name,
    is_well_formed,
    name_key,
    name_problem,
    read_people_list,
)


def test_spellings_of_one_person_share_a_key():
    spellings = ("George_W_Bush", "george w bush", "George W. Bush", "GEORGE-W-BUSH")
    keys = {name_key(one) for one in (*spellings, " George  W_Bush ", "Ｇeorge W Bush")}
    assert keys == {"george w bush"} != {name_key("George Bush")}
    for name in ("Straße", "ǅ", "ﬁona İpek", "Ångström", "a.-_b"):
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
def test_folder_form(spelling, folder):
    assert folder_name(spelling) == folder
    assert folder_name(folder) == folder
    assert name_key(spelling) == name_key(folder)


@pytest.mark.parametrize("name", ["Ann_Lee", "Seán_O'Neil", "Al-Hakim", "digit_0", "李_小龙"])
def test_well_formed_names(name):
    assert is_well_formed(name)
    assert not any(map(is_well_formed, (f" {name}", f".{name}", f"-{name}", f"{name}/", name * 40)))
    assert not any(map(is_well_formed, ("", "__", "a/b", "a\nb", "a:b", "a\u202eb")))


# With the joiners that Persian, Indic, Sinhala and Mongolian writing needs, a variation selector
# of a Japanese name, and punctuation inside names.
@pytest.mark.parametrize(
    "name",
    [
        *("Zoë Łukasz", "Σωκράτης", "Владимир Зелёный", "Խաչատրյան", "ნინო", "אבְרָהָם", "ג׳ורג׳"),
        *("محمد بن سلمان", "علی\u200cرضا", "زین\u200cالعابدین", "हर्षवर्धन"),
        *("র\u200d্যাচেল", "ශ්\u200dරී", "മോഹന്\u200d", "ಕೀರ್\u200cತಿ", "தமிழ்", "ᠰᠠᠷᠠᠨ\u180eᠠ"),
        *("李小龙", "迈克尔·乔丹", "マイケル・ジョーダン", "葛\U000e0100城", "김철수", "ณัฐพงษ์"),
        *("བསྟན་འཛིན", "မင်းအောင်", "សុខា", "አበበ"),
    ],
)
def test_names_of_all_scripts_are_valid(name):
    assert name_problem(name) == ""
    assert is_well_formed(name)
    assert given_name(name) == name


@pytest.mark.parametrize("name", ["Ann 👩\u200d❤️\u200d👨", "\U0003347f", "\ue000"])
def test_emoji_and_characters_of_later_versions_of_unicode_are_valid(name):
    assert name_problem(name) == "" and given_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *((name, "no letter or digit") for name in ("", "___", " - ", "...", "\u0301")),
        *((f"Ann{hidden}", "invisible") for hidden in "\0\n\x7f\u00ad\u200b\u2060\ufeff\u3164"),
        *((f"Ann{bidi}", "invisible") for bidi in "\u200e\u200f\u061c\u202a\u202e\u2066\u2069"),
        *((name, "JOINER") for name in ("A\u200cnn", "Ann\u200d", "\u200cعلی", "علی\u200c")),
        ("Ann\U000e0041", "invisible"),
        ("Ann\udcff", "not UTF-8"),
    ],
)
def test_names_with_what_nobody_sees_are_refused(name, problem):
    assert problem in name_problem(name)
    assert not is_well_formed(name)


def test_lists_of_people_are_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# friends\n2\nAnn_Lee\t3\nann lee\n\nBo Day\n")
    assert read_people_list(path) == ["Ann_Lee", "Bo Day"]
    path.write_text("10\n")
    with pytest.raises(UsageError, match="has no names"):
        read_people_list(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_people_list(tmp_path / "nowhere.txt")
