"""Importing: one person over several sources, byte for byte, resumed after an interruption."""

import json
import tarfile
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import file_lock
from faceops.dataset.data_folder import SYNTHETIC, write_sources
from faceops.dataset.importer import import_photos
from tests.dataset.test_sources import imported, touch


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    """A folder laid out as LFW: three people, four photos."""
    root = tmp_path / "lfw"
    names = ("Ann_Lee_0001", "Ann_Lee_0002", "Bo_Al-Hakim_0001", "Cy_Day_0001")
    touch(root, *(f"lfw-deepfunneled/{name[:-5]}/{name}.jpg" for name in names))
    (root / "peopleDevTrain.txt").write_text("2\nAnn_Lee\t2\nCy_Day\t1\n")
    return root


@pytest.mark.parametrize("as_uri", [False, True])
def test_an_archive_gives_what_its_folder_gives(lfw, as_uri, tmp_path):
    archive = tmp_path / "lfw.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(lfw / "lfw-deepfunneled", "lfw-deepfunneled")
    import_photos("lfw", archive.as_uri() if as_uri else str(archive), tmp_path / "a")
    import_photos("lfw", str(lfw), tmp_path / "b")
    assert imported(tmp_path / "a") == imported(tmp_path / "b")
    original = lfw / "lfw-deepfunneled" / "Ann_Lee" / "Ann_Lee_0002.jpg"
    copy = tmp_path / "a" / "photos" / "Ann_Lee" / "Ann_Lee_0002.jpg"
    assert copy.read_bytes() == original.read_bytes()
    assert not list(tmp_path.glob(".*.import"))


def test_people_are_selected_by_number_or_by_a_list(lfw, tmp_path):
    assert import_photos("lfw", str(lfw), tmp_path / "a", limit_people=2)["people"] == 2
    listed = lfw / "peopleDevTrain.txt"
    import_photos("lfw", str(lfw), tmp_path / "b", only_list=listed)
    assert {name.split("/")[0] for name in imported(tmp_path / "b")} == {"Ann_Lee", "Cy_Day"}
    listed.write_text("Zoe_Zed\n")
    with pytest.raises(FaceOpsError, match="check the names"):
        import_photos("lfw", str(lfw), tmp_path / "c", only_list=listed)


def test_system_folders_and_excluded_photos_are_not_imported(tmp_path):
    for name in ("Ann/a.jpg", "Ann/@eaDir/a.jpg", "Ann/b.png", "Ben/c.jpg", "#recycle/d.jpg"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "tree/Ben/.faceopsignore").write_text("c.*\n")
    skipped: dict[Path, str] = {}
    source = str(tmp_path / "tree")
    assert import_photos("tree", source, tmp_path / "a", exclude=["*.png"], skipped=skipped) == {
        "people": 1, "photos": 1, "written": 1,
    }  # fmt: skip
    assert sorted(skipped.values()) == ["#recycle", "*.png", "@eaDir", "Ben/.faceopsignore: c.*"]
    with pytest.raises(FaceOpsError, match="has no photos that are not excluded"):
        import_photos("tree", source, tmp_path / "b", exclude=["*"])


@pytest.mark.parametrize("name", ["___", "A\u200bnn", "\u202eAnn", "An\x07n", "An\udcffn"])
def test_a_folder_whose_name_cannot_be_a_person_is_refused(name, tmp_path):
    touch(tmp_path / "tree", "Ann/1.jpg", f"{name}/1.jpg")
    shown = repr(name).strip("'").replace("\\", r"\\")
    with pytest.raises(FaceOpsError, match=f"^'{shown}' cannot be a person's name: it .*rename"):
        import_photos("tree", str(tmp_path / "tree"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_names_of_files_that_are_not_utf_8_or_look_like_paths_are_written_below_the_person(
    tmp_path,
):
    touch(tmp_path / "tree", "Ann/b\udcff.jpg", "．．／．．／x/1.jpg")
    import_photos("tree", str(tmp_path / "tree"), tmp_path / "data")
    assert imported(tmp_path / "data") == ["Ann/b\\xff.jpg", "X/1.jpg"]
    assert import_photos("tree", str(tmp_path / "tree"), tmp_path / "data")["written"] == 0


def test_one_person_in_two_sources_has_one_folder(lfw, tmp_path):
    data, pins = tmp_path / "data", tmp_path / "pins"
    import_photos("lfw", str(lfw), data)
    touch(pins, "pins_ann lee/Ann_Lee_0001.jpg", "pins_Ann-Lee/x.jpg", "pins_Di Orr/y.jpg")
    assert import_photos("pins", str(pins), data) == {"people": 2, "photos": 3, "written": 3}
    assert imported(data) == [
        "Ann_Lee/Ann_Lee_0001.jpg",
        "Ann_Lee/Ann_Lee_0001__pins.jpg",
        "Ann_Lee/Ann_Lee_0002.jpg",
        "Ann_Lee/x.jpg",
        "Bo_Al-Hakim/Bo_Al-Hakim_0001.jpg",
        "Cy_Day/Cy_Day_0001.jpg",
        "Di_Orr/y.jpg",
    ]
    assert import_photos("pins", str(pins), data)["written"] == 0
    sources = json.loads((data / "sources.json").read_text())
    assert {name: source["photos"] for name, source in sources.items()} == {"lfw": 4, "pins": 3}


def test_a_tree_may_have_a_folder_around_it_in_an_archive_only(tmp_path):
    tree = tmp_path / "tree"
    touch(tree, "people/Ann/1.jpg", "people/Bo/1.jpg")
    import_photos("tree", str(tree), tmp_path / "a")
    assert imported(tmp_path / "a") == ["People/Ann_1.jpg", "People/Bo_1.jpg"]
    with tarfile.open(tmp_path / "tree.tgz", "w:gz") as tar:
        tar.add(tree / "people", "people")
    import_photos("tree", str(tmp_path / "tree.tgz"), tmp_path / "b")
    assert imported(tmp_path / "b") == ["Ann/1.jpg", "Bo/1.jpg"]


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("nowhere", UsageError, "does not exist"),
        ("", UsageError, "is empty"),
        (" ", UsageError, "is empty"),
        ("s3://bucket/lfw.tgz", UsageError, "not an http, https or file"),
        (__file__, FaceOpsError, "not a tar, tgz or zip"),
    ],
)
def test_a_wrong_place_is_refused(place, error, message, tmp_path):
    with pytest.raises(error, match=message):
        import_photos("lfw", place, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_real_photos_are_not_mixed_with_synthetic_ones_nor_with_those_of_another_import(
    lfw, tmp_path
):
    data = tmp_path / "data"
    write_sources(data, {SYNTHETIC: {}})
    with pytest.raises(FaceOpsError, match="not mixed"):
        import_photos("lfw", str(lfw), data)
    busy = "data is in use by another faceops process; wait"
    with file_lock(data, "in use"), pytest.raises(FaceOpsError, match=busy):
        import_photos("lfw", str(lfw), data)


def test_an_interrupted_import_resumes(lfw, tmp_path):
    data = tmp_path / "data"
    broken = lfw / "lfw-deepfunneled" / "Cy_Day" / "Cy_Day_0001.jpg"
    broken.unlink()
    broken.mkdir()  # a photo that cannot be copied
    with pytest.raises(FaceOpsError, match="run it again to resume"):
        import_photos("lfw", str(lfw), data)
    broken.rmdir()
    broken.write_bytes(b"a photo")
    assert import_photos("lfw", str(lfw), data) == {"people": 3, "photos": 4, "written": 1}


def test_every_place_is_recorded(tmp_path):
    touch(tmp_path, "B/Bo/1.jpg", "A/Ann/1.jpg", "A/Ann/2.jpg")
    for place in ("B", "A", "B"):
        import_photos("tree", str(tmp_path / place), tmp_path / "data")
    entry = json.loads((tmp_path / "data" / "sources.json").read_text())["tree"]
    assert entry["places"] == {"A": 2, "B": 1}
    assert (entry["people"], entry["photos"]) == (2, 3)
