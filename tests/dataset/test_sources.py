"""Each source of SOURCES: its layout is imported, another layout is refused, help lists it."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.cli import build_parser, main
from faceops.dataset.importer import import_photos
from faceops.dataset.sources import SOURCES, Source, SourcePhoto

DIGITS = np.random.default_rng(5).integers(0, 256, (4, 28, 28)).astype(np.uint8)


def touch(root: Path, *names: str) -> None:
    """Write files whose content differs."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def imported(data: Path) -> list[str]:
    root = data / "photos"
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def write_idx(path: Path, array: np.ndarray, magic: int) -> None:
    header = b"".join(n.to_bytes(4, "big") for n in (magic, *array.shape))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def tree(root: Path) -> None:
    touch(root, "Ann Lee/2020/1.jpg", "Ann Lee/2021/1.jpg", "ann_lee/2020_1.jpg", "Bo/1.png")
    touch(root, "Bo/notes.txt", "Bo/.hidden.jpg")


def lfw(root: Path) -> None:
    names = ["Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Bo_Day/Bo_Day_0001.jpg"]
    touch(root, *(f"lfw-deepfunneled/{name}" for name in names), "pairs.txt", "notes.txt")


def pins(root: Path) -> None:
    touch(root, "set/pins_ann lee/1.jpg", "set/pins_Ann-Lee/2.jpg", "set/pins_Di Orr/y.jpg")


def kaggle_faces(root: Path) -> None:
    touch(root, "Faces/Ann Lee_0.jpg", "Faces/Ann Lee_12.jpg", "Original/Bo_3.jpg")
    (root / "Original/Ann Lee_0.jpg").write_bytes((root / "Faces/Ann Lee_0.jpg").read_bytes())


def celeba(root: Path) -> None:
    touch(root, "img/000001.jpg", "img/000002.jpg")
    (root / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 17\n000003.jpg 17\n")


def mnist(root: Path) -> None:
    write_idx(root / "train-images-idx3-ubyte.gz", DIGITS, 0x803)
    write_idx(root / "train-labels-idx1-ubyte.gz", np.array([0, 1, 0, 2], np.uint8), 0x801)


LAYOUTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "tree": (
        tree,
        ["Ann_Lee/2020_1.jpg", "Ann_Lee/2020_1__tree.jpg", "Ann_Lee/2021_1.jpg", "Bo/1.png"],
    ),
    "lfw": (
        lfw,
        ["Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Bo_Day/Bo_Day_0001.jpg"],
    ),
    "pins": (pins, ["Ann_Lee/1.jpg", "Ann_Lee/2.jpg", "Di_Orr/y.jpg"]),
    "kaggle-faces": (
        kaggle_faces,
        ["Ann_Lee/Ann Lee_0.jpg", "Ann_Lee/Ann Lee_12.jpg", "Bo/Bo_3.jpg"],
    ),
    "celeba": (celeba, ["CelebA_17/000002.jpg", "CelebA_2880/000001.jpg"]),
    "mnist": (
        mnist,
        [
            "digit_0/train_00000.png",
            "digit_0/train_00002.png",
            "digit_1/train_00001.png",
            "digit_2/train_00003.png",
        ],
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_layout_of_a_source_is_imported_once(source, tmp_path):
    write, expected = LAYOUTS[source]
    root, data = tmp_path / "root", tmp_path / "data"
    write(root)
    assert import_photos(source, str(root), data)["written"] == len(expected)
    assert imported(data) == expected
    entry = json.loads((data / "sources.json").read_text())[source]
    assert entry["terms"] == SOURCES[source].terms and entry["photos"] == len(expected)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert import_photos(source, str(root), data)["written"] == 0
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    if source == "lfw":
        assert [path.name for path in (data / "protocols/lfw").iterdir()] == ["pairs.txt"]
    if source == "mnist":
        with Image.open(data / "photos/digit_2/train_00003.png") as image:
            assert np.array_equal(np.asarray(image), DIGITS[3])


@pytest.mark.parametrize("source", SOURCES)
def test_another_layout_is_refused_with_the_expected_one(source, tmp_path):
    (tmp_path / "empty" / "Ann").mkdir(parents=True)
    with pytest.raises(FaceOpsError) as refused:
        import_photos(source, str(tmp_path / "empty"), tmp_path / "data")
    assert f"not laid out as the source {source}: {SOURCES[source].layout}" in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_a_new_source_is_listed_imported_and_offered(tmp_path, monkeypatch, capsys):
    def list_flat(folder: Path) -> list[SourcePhoto]:
        return [SourcePhoto(p.stem, p.name, p.name, p.read_bytes) for p in folder.iterdir()]

    touch(tmp_path / "photos", "Ada.jpg")
    monkeypatch.setitem(SOURCES, "flat", Source("<Person>.jpg", list_flat, "own photos"))
    out = ["--out", str(tmp_path / "data")]
    assert main(["data", "import", "flat", str(tmp_path / "photos"), *out]) == 0
    assert (tmp_path / "data/photos/Ada/Ada.jpg").read_bytes() == b"Ada.jpg"
    assert main(["data", "import", "flickr", str(tmp_path / "photos"), *out]) == 2
    assert f"'flickr'; choose from {', '.join(SOURCES)}." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build_parser().parse_args(["data", "import", "--help"])
    help_text = capsys.readouterr().out
    for name, source in SOURCES.items():
        assert f"  {name}" in help_text and source.layout in help_text


def _labels(count: int, magic: int) -> Callable[[Path], None]:
    path = "train-labels-idx1-ubyte.gz"
    return lambda root: write_idx(root / path, np.zeros(count, np.uint8), magic)


@pytest.mark.parametrize(
    ("source", "change", "message"),
    [
        ("tree", lambda root: touch(root, "a.jpg", "b.jpg"), r"2 photos are in no .*a\.jpg"),
        ("kaggle-faces", lambda root: touch(root, "selfie.jpg"), r"selfie\.jpg is not named"),
        ("celeba", lambda root: touch(root, "img/000009.jpg"), r"no row for 000009\.jpg"),
        (
            "celeba",
            lambda root: (root / "identity_CelebA.txt").write_text("000001.jpg\n"),
            "line 1 is",
        ),
        ("mnist", _labels(3, 0x801), "4 images"),
        ("mnist", _labels(4, 0x802), "magic number"),
        (
            "mnist",
            lambda root: (root / "train-labels-idx1-ubyte.gz").unlink(),
            "lacks train-labels-idx1-ubyte",
        ),
    ],
)
def test_a_wrong_file_is_named(source, change, message, tmp_path):
    LAYOUTS[source][0](tmp_path / "root")
    change(tmp_path / "root")
    with pytest.raises(FaceOpsError, match=message):
        import_photos(source, str(tmp_path / "root"), tmp_path / "data")
    assert not (tmp_path / "data").exists()
