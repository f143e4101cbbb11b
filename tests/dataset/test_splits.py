"""Splits are disjoint, near their shares, and stable when people are added or removed."""

import pytest

from faceops.base.errors import FaceOpsError
from faceops.dataset.splits import split_people

SHARES = 0.1, 0.1


def crowd(people: int, every_third_single: bool = True) -> dict[str, int]:
    return {f"Person_{n}": 1 if every_third_single and n % 3 == 0 else 5 for n in range(people)}


def test_shares_are_kept_for_people_with_one_photo_and_with_several():
    photos = crowd(3000)
    splits = split_people(photos, SHARES, 7)
    assert splits.keys() == photos.keys()
    for single in (True, False):
        group = [splits[person] for person in photos if (photos[person] == 1) == single]
        for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            assert group.count(split) / len(group) == pytest.approx(share, abs=0.04)


def test_the_split_depends_on_the_seed_and_neither_on_spelling_nor_on_added_people():
    photos = crowd(300)
    splits = split_people(photos, SHARES, 7)
    assert splits != split_people(photos, SHARES, 8)
    spelt = {person.replace("_", " ").upper(): count for person, count in photos.items()}
    assert list(split_people(spelt, SHARES, 7).values()) == list(splits.values())
    assert splits.items() <= split_people(crowd(320), SHARES, 7).items()


@pytest.mark.parametrize("seed", range(20))
def test_small_sets_get_two_people_with_several_photos_each(seed):
    photos = crowd(6, every_third_single=False) | {"Single": 1}
    splits = split_people(photos, SHARES, seed)
    several = [splits[person] for person in photos if photos[person] > 1]
    assert [several.count(split) for split in ("train", "val", "test")] == [2, 2, 2]
    with pytest.raises(FaceOpsError, match="import more people"):
        split_people(crowd(5, every_third_single=False), SHARES, seed)


def test_lfw_lists_determine_the_split():
    photos = crowd(300)
    dev_train = [f"person {n}" for n in range(200)]
    dev_test = [f"Person_{n}" for n in range(200, 280)]
    splits = split_people(photos, SHARES, 7, lists=(dev_train, dev_test))
    assert {splits[f"Person_{n}"] for n in range(200, 280)} == {"test"}
    validating = [n for n in range(200) if splits[f"Person_{n}"] == "val"]
    assert 8 <= len(validating) <= 36
    with pytest.raises(FaceOpsError, match="both name"):
        split_people(photos, SHARES, 7, lists=(dev_train, ["Person_3"]))
    with pytest.raises(FaceOpsError, match="0 to test"):
        split_people(photos, SHARES, 7, lists=(photos, ["Nobody"]))


def test_people_of_other_sources_than_lfw_are_in_all_three_splits():
    photos = crowd(1200)
    listed = [f"Person_{n}" for n in range(200)]
    splits = split_people(photos, (0.1, 0.2), 7, lists=(listed[:100], listed[100:]))
    others = [splits[person] for person in photos if person not in listed]
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert others.count(split) / len(others) == pytest.approx(share, abs=0.04)
    assert {splits[person] for person in listed[:100]} == {"train", "val"}


@pytest.mark.lfw
def test_lfw_people_are_all_in_one_official_list(lfw_root):
    from faceops.dataset.names import name_key, read_people_list

    train = read_people_list(lfw_root / "peopleDevTrain.txt")
    test = read_people_list(lfw_root / "peopleDevTest.txt")
    assert (len(train), len(test)) == (4038, 1711)
    people = {name_key(path.name) for path in (lfw_root / "lfw-deepfunneled").iterdir()}
    assert {name_key(name) for name in train + test} == people
