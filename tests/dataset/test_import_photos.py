"""Importing: each source's layout, one person over sources, byte for byte, resumed."""

import gzip
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.locks import file_lock
from faceops.dataset.download import public_place
from faceops.dataset.importer import SYNTHETIC, import_photos, write_sources
from faceops.dataset.names import read_people_list


def photo(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 60), (shade, 10, 10)).save(path)
    return path


def names(data: Path) -> list[str]:
    root = data / "photos"
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    root = tmp_path / "lfw"
    for person, count in (("Ann_Lee", 2), ("Bo_Al-Hakim", 1), ("Cy_Day", 1)):
        for number in range(1, count + 1):
            photo(root / "lfw-deepfunneled" / person / f"{person}_{number:04d}.jpg", number * 40)
    (root / "peopleDevTrain.txt").write_text("2\nAnn_Lee\t2\nCy_Day\t1\n")
    (root / "pairs.txt").write_text("1\t1\nAnn_Lee\t1\t2\n")
    return root


def test_lfw_with_its_lists_byte_for_byte(lfw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    counts = import_photos("lfw", str(lfw), data)
    assert counts == {"people": 3, "photos": 4, "written": 4}
    original = lfw / "lfw-deepfunneled" / "Ann_Lee" / "Ann_Lee_0002.jpg"
    copy = data / "photos" / "Ann_Lee" / "Ann_Lee_0002.jpg"
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)
    protocols = sorted(path.name for path in (data / "protocols" / "lfw").iterdir())
    assert protocols == ["pairs.txt", "peopleDevTrain.txt"]
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert import_photos("lfw", str(lfw), data)["written"] == 0
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_an_archive_gives_what_its_folder_gives(lfw: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "lfw.tgz", "w:gz") as tar:
        tar.add(lfw / "lfw-deepfunneled", "lfw-deepfunneled")
    for place, data in (
        (str(tmp_path / "lfw.tgz"), tmp_path / "one"),
        ((tmp_path / "lfw.tgz").as_uri(), tmp_path / "two"),
    ):
        assert import_photos("lfw", place, data)["photos"] == 4
    assert names(tmp_path / "one") == names(tmp_path / "two")
    assert not list(tmp_path.glob(".*.import"))


def test_only_some_people(lfw: Path, tmp_path: Path) -> None:
    assert import_photos("lfw", str(lfw), tmp_path / "a", limit_people=2)["people"] == 2
    listed = lfw / "peopleDevTrain.txt"
    import_photos("lfw", str(lfw), tmp_path / "b", only_list=listed)
    assert {name.split("/")[0] for name in names(tmp_path / "b")} == {"Ann_Lee", "Cy_Day"}
    (tmp_path / "nobody.txt").write_text("Zoe_Zed\n")
    with pytest.raises(FaceOpsError, match="check the names"):
        import_photos("lfw", str(lfw), tmp_path / "c", only_list=tmp_path / "nobody.txt")


def test_one_person_in_two_sources_is_one_person(lfw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    import_photos("lfw", str(lfw), data)
    pins = tmp_path / "pins"
    photo(pins / "pins_ann lee" / "Ann_Lee_0001.jpg", 200)  # another photo of that name
    photo(pins / "pins_Ann-Lee" / "x.jpg", 210)
    photo(pins / "pins_Di Orr" / "y.jpg", 220)
    counts = import_photos("pins", str(pins), data)
    assert counts == {"people": 2, "photos": 3, "written": 3}
    assert names(data) == [
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
    assert all(source["terms"] for source in sources.values())


def test_tree_keeps_photos_of_one_name_apart(tmp_path: Path) -> None:
    tree = tmp_path / "people"
    photo(tree / "Ann Lee" / "2020" / "1.jpg", 10)
    photo(tree / "Ann Lee" / "2021" / "1.jpg", 20)
    photo(tree / "ann_lee" / "2020_1.jpg", 30)
    photo(tree / "Bo" / "1.png", 40)
    (tree / "Bo" / "notes.txt").write_text("not a photo by its name")
    (tree / "Bo" / ".hidden.jpg").write_bytes(b"")
    import_photos("tree", str(tree), tmp_path / "data")
    kept = ["Ann_Lee/2020_1.jpg", "Ann_Lee/2020_1__tree.jpg", "Ann_Lee/2021_1.jpg", "Bo/1.png"]
    assert names(tmp_path / "data") == kept
    with tarfile.open(tmp_path / "flat.tgz", "w:gz") as tar:
        tar.add(tree / "Bo", "people/Bo")
        tar.add(tree / "Ann Lee", "people/Ann")
    import_photos("tree", str(tmp_path / "flat.tgz"), tmp_path / "flat")
    assert names(tmp_path / "flat") == ["Ann/2020_1.jpg", "Ann/2021_1.jpg", "Bo/1.png"]


def test_one_person_with_albums_stays_one_person(tmp_path: Path) -> None:
    photo(tmp_path / "tree" / "Ann" / "2020" / "1.jpg", 10)
    photo(tmp_path / "tree" / "Ann" / "2021" / "1.jpg", 20)
    import_photos("tree", str(tmp_path / "tree"), tmp_path / "data")
    assert names(tmp_path / "data") == ["Ann/2020_1.jpg", "Ann/2021_1.jpg"]


def test_photos_of_nobody_are_counted_and_refused(tmp_path: Path) -> None:
    photo(tmp_path / "tree" / "Ann" / "1.jpg", 10)
    photo(tmp_path / "tree" / "a.jpg", 20)
    photo(tmp_path / "tree" / "b.jpg", 30)
    with pytest.raises(FaceOpsError, match=r"2 photos lie in no person's folder .*a\.jpg"):
        import_photos("tree", str(tmp_path / "tree"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_kaggle_faces(tmp_path: Path) -> None:
    photo(tmp_path / "k" / "Faces" / "Ann Lee_0.jpg", 10)
    photo(tmp_path / "k" / "Faces" / "Ann Lee_12.jpg", 20)
    photo(tmp_path / "k" / "Original" / "Bo_3.jpg", 30)
    import_photos("kaggle-faces", str(tmp_path / "k"), tmp_path / "data")
    assert names(tmp_path / "data") == [
        "Ann_Lee/Ann Lee_0.jpg",
        "Ann_Lee/Ann Lee_12.jpg",
        "Bo/Bo_3.jpg",
    ]
    photo(tmp_path / "k" / "Faces" / "selfie.jpg", 10)
    with pytest.raises(FaceOpsError, match=r"selfie\.jpg is not named"):
        import_photos("kaggle-faces", str(tmp_path / "k"), tmp_path / "other")


def test_celeba(tmp_path: Path) -> None:
    root = tmp_path / "celeba"
    photo(root / "img_align_celeba" / "000001.jpg", 10)
    photo(root / "img_align_celeba" / "000002.jpg", 20)
    (root / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 17\n000003.jpg 17\n")
    import_photos("celeba", str(root), tmp_path / "data")
    assert names(tmp_path / "data") == ["CelebA_17/000002.jpg", "CelebA_2880/000001.jpg"]
    photo(root / "img_align_celeba" / "000009.jpg", 30)
    with pytest.raises(FaceOpsError, match=r"no row for 000009\.jpg"):
        import_photos("celeba", str(root), tmp_path / "other")
    (root / "identity_CelebA.txt").write_text("000001.jpg\n")
    with pytest.raises(FaceOpsError, match="line 1"):
        import_photos("celeba", str(root), tmp_path / "other")


def idx(path: Path, array: np.ndarray, magic: int) -> None:
    header = struct.pack(f">I{array.ndim}I", magic, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_mnist(tmp_path: Path) -> None:
    root = tmp_path / "mnist"
    root.mkdir()
    digits = np.random.default_rng(5).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    idx(root / "train-images-idx3-ubyte.gz", digits, 0x803)
    idx(root / "train-labels-idx1-ubyte.gz", np.array([0, 1, 0, 2], np.uint8), 0x801)
    import_photos("mnist", str(root), tmp_path / "data")
    assert names(tmp_path / "data") == [
        "digit_0/train_00000.png",
        "digit_0/train_00002.png",
        "digit_1/train_00001.png",
        "digit_2/train_00003.png",
    ]
    with Image.open(tmp_path / "data" / "photos" / "digit_2" / "train_00003.png") as image:
        assert np.array_equal(np.asarray(image), digits[3])
    idx(root / "train-labels-idx1-ubyte.gz", np.zeros(3, np.uint8), 0x801)
    with pytest.raises(FaceOpsError, match="4 images"):
        import_photos("mnist", str(root), tmp_path / "other")
    idx(root / "train-labels-idx1-ubyte.gz", np.zeros(4, np.uint8), 0x802)
    with pytest.raises(FaceOpsError, match="magic number"):
        import_photos("mnist", str(root), tmp_path / "other")
    (root / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FaceOpsError, match="labels-idx1-ubyte"):
        import_photos("mnist", str(root), tmp_path / "other")


@pytest.mark.parametrize("source", ["tree", "lfw", "pins", "kaggle-faces", "celeba", "mnist"])
def test_a_wrong_layout_is_told(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty" / "Ann").mkdir(parents=True)
    with pytest.raises(FaceOpsError, match=f"not laid out as the source {source}"):
        import_photos(source, str(tmp_path / "empty"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_other_mistakes_are_told(lfw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(UsageError, match="does not exist"):
        import_photos("lfw", str(tmp_path / "nowhere"), data)
    for nothing in ("", " "):
        with pytest.raises(UsageError, match="is empty"):
            import_photos("lfw", nothing, data)
    with pytest.raises(FaceOpsError, match="no tar, tgz or zip"):
        import_photos("lfw", str(lfw / "pairs.txt"), data)
    with pytest.raises(UsageError, match="not an http, https or file"):
        import_photos("lfw", "s3://bucket/lfw.tgz", data)
    with pytest.raises(UsageError, match="choose from tree, lfw"):
        import_photos("flickr", str(lfw), data)
    write_sources(data, {SYNTHETIC: {}})
    with pytest.raises(FaceOpsError, match="not mixed"):
        import_photos("lfw", str(lfw), data)
    assert not list(tmp_path.glob(".*.import"))


def test_an_interrupted_import_goes_on(lfw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    broken = lfw / "lfw-deepfunneled" / "Cy_Day" / "Cy_Day_0001.jpg"
    content = broken.read_bytes()
    broken.unlink()
    broken.mkdir()  # a photo that cannot be copied
    with pytest.raises(FaceOpsError, match="run it again to go on"):
        import_photos("lfw", str(lfw), data)
    broken.rmdir()
    broken.write_bytes(content)
    assert import_photos("lfw", str(lfw), data) == {"people": 3, "photos": 4, "written": 1}


def test_no_password_is_written_down() -> None:
    place = "https://ann:secret@example.org:8443/lfw.tgz?token=secret"
    assert public_place(place) == "https://example.org:8443/lfw.tgz"
    assert public_place("/home/ann/photos") == "photos"


def test_lists_of_people(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# friends\n2\nAnn_Lee\t3\nann lee\n\nBo Day\n")
    assert read_people_list(path) == ["Ann_Lee", "Bo Day"]
    path.write_text("10\n")
    with pytest.raises(UsageError, match="names nobody"):
        read_people_list(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_people_list(tmp_path / "nowhere.txt")


def test_every_place_is_remembered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    photo(tmp_path / "B" / "Bo" / "1.jpg", 10)
    photo(tmp_path / "A" / "Ann" / "1.jpg", 20)
    photo(tmp_path / "A" / "Ann" / "2.jpg", 30)
    for place in ("B", "A", "B"):
        import_photos("tree", str(tmp_path / place), data)
    told = json.loads((data / "sources.json").read_text())["tree"]
    assert told["places"] == {"A": 2, "B": 1}
    assert (told["people"], told["photos"]) == (2, 3)


def test_two_imports_at_once_into_one_folder_are_refused(lfw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with (
        file_lock(data, "in use"),
        pytest.raises(FaceOpsError, match="data is in use by another faceops process; wait"),
    ):
        import_photos("lfw", str(lfw), data)
    assert import_photos("lfw", str(lfw), data)["photos"] == 4
