"""Synthetic people: the same bytes everywhere, resuming, and a true album."""

import csv
import hashlib
import os
import subprocess
import sys
import zlib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError
from faceops.dataset.synthetic.make import (
    TERMS,
    _truth_rows,
    album,
    draw_all,
    make_synthetic,
    portraits,
)
from faceops.dataset.synthetic.people import (
    SyntheticSettings,
    invented_name,
    load_generator,
    photo_latent,
    png,
    stored_zlib,
)
from faceops.dataset.synthetic.scenes import plan_scene
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.photos.open_photo import PhotoError, open_photo

SMALL = SyntheticSettings(people=2, photos=2, gallery=2, enrol_photos=1, strangers=2, scenes=1)

MAKE = """
import sys
from pathlib import Path
from tests.dataset.test_synthetic_people import SMALL, make_synthetic
make_synthetic(Path(sys.argv[1]), SMALL, Path(sys.argv[2]))
"""


def digests(folder: Path) -> dict[str, str]:
    """Return relative path -> sha256 of every file below `folder`."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def generator(weights_dir: Path) -> Path:
    return weights_dir / "weights.tar"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, generator: Path) -> Path:
    data = tmp_path_factory.mktemp("small") / "data"
    make_synthetic(data, SMALL, generator)
    return data


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_processor_or_the_number_of_threads(
    small, tmp_path, generator, repository
):
    # The oldest code paths of libjpeg-turbo, OpenBLAS and NumPy.
    oldest = {
        "JSIMD_FORCENONE": "1",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
    }
    command = [sys.executable, "-c", MAKE, str(tmp_path / "data"), str(generator)]
    subprocess.run(command, cwd=repository, env={**os.environ, **oldest}, check=True)
    assert digests(tmp_path / "data") == digests(small)


def test_a_second_run_writes_nothing_and_a_lost_file_comes_back(small, generator):
    before = digests(small)
    assert make_synthetic(small, SMALL, generator)["written"] == 0
    lost = min(path for path in before if path.startswith("photos/"))
    (small / lost).unlink()
    assert make_synthetic(small, SMALL, generator)["written"] == 1
    assert digests(small) == before


def test_a_small_set_is_part_of_a_larger_one():
    larger = SyntheticSettings(people=3, photos=3, gallery=2, enrol_photos=1, strangers=2, scenes=2)
    small, large = (
        {d.paths: d.latents.tobytes() for d in chain(portraits(settings), album(settings))}
        for settings in (SMALL, larger)
    )
    assert small.items() <= large.items()


def test_what_cannot_be_made_is_refused(small, generator, tmp_path):
    other = SyntheticSettings(people=2, photos=2, seed=8, gallery=2, enrol_photos=1, scenes=1)
    with pytest.raises(FaceOpsError, match="seed = 7, not 8"):
        make_synthetic(small, other, generator)
    (tmp_path / "weights.tar").write_bytes(b"nothing of the kind")
    with pytest.raises(FaceOpsError, match="--out"):  # a folder of other files
        make_synthetic(tmp_path, SMALL, generator)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.tar"]
    with pytest.raises(FaceOpsError, match="faceops weights fetch"):
        load_generator(tmp_path / "weights.tar")
    with pytest.raises(UsageError, match="--people 0"):
        SyntheticSettings(people=0)


def test_no_two_people_share_a_name():
    names = [invented_name(group, person) for group in range(3) for person in range(2000)]
    assert len(set(names)) == len(names)


def test_a_batch_gives_the_faces_of_single_draws(generator):
    draw = load_generator(generator)
    latents = np.stack([photo_latent(7, 0, person, (0, 1)) for person in range(2)])
    one_by_one = np.concatenate([draw(latent[None]) for latent in latents])
    assert np.array_equal(draw(latents), one_by_one)
    assert one_by_one.shape == (2, 64, 64, 3)
    assert draw(np.empty((0, 100))).shape == (0, 64, 64, 3)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 200_001])
def test_stored_zlib_is_zlib(size):
    content = np.random.default_rng(size).bytes(size)
    assert zlib.decompress(stored_zlib(content)) == content


@pytest.mark.parametrize(
    ("shape", "kind"), [((3, 5), np.uint8), ((3, 5), np.uint16), ((4, 2, 3), np.uint8)]
)
def test_stored_png_is_read_back(shape, kind, tmp_path):
    pixels = np.random.default_rng(2).integers(0, np.iinfo(kind).max, shape).astype(kind)
    (tmp_path / "a.png").write_bytes(png(pixels))
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_each_person_is_in_a_scene_once_and_inside_it():
    counts = set()
    for number in range(1, 200):
        scene = plan_scene(7, number, 20, 30)
        people = [(face.group, face.person) for face in scene.faces]
        counts.add(len(people))
        assert len(set(people)) == len(people)
        for face in scene.faces:
            x, y, width, height = face.box()
            assert 0 <= x <= scene.size[0] - width
            assert 0 <= y <= scene.size[1] - height
            assert 85 <= height <= 225
    assert counts == {1, 2, 3, 4, 5}


@pytest.mark.slow
def test_the_detector_finds_the_true_boxes_however_the_photo_is_stored(weights_dir, synthetic_set):
    yunet = (weights_dir / "face_detection_yunet_2023mar.onnx").read_bytes()
    detector = Detector(with_symbolic_size(yunet))
    with (synthetic_set / "album_truth.csv").open(newline="") as file:
        truth = list(csv.DictReader(file))
    album = synthetic_set / "album"
    pixels = {name: open_photo(album / name).pixels for name in {row["photo"] for row in truth}}
    boxes = {name: [d.box for d in detector.search(photo)[0]] for name, photo in pixels.items()}
    found = 0
    for row in truth:
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        found += any(
            bx < x + width / 2 < bx + bw and by < y + height / 2 < by + bh
            for bx, by, bw, bh in boxes[row["photo"]]
        )
    assert found >= 0.9 * len(truth)
    upright = pixels["odd/orientation_1.jpg"].astype(int)
    for orientation in range(2, 9):
        other = pixels[f"odd/orientation_{orientation}.jpg"]
        assert np.abs(other - upright).mean() < 1
    for name in ("truncated.jpg", "empty.jpg", "text.jpg", "garbage.png", "huge.png", "note.txt"):
        with pytest.raises(PhotoError):
            open_photo(album / "odd" / name)


def pin(repository: Path) -> str:
    """Return the committed data.dvc: in the working tree it may pin somebody's own photos."""
    shown = subprocess.run(
        ["git", "show", "HEAD:data.dvc"], cwd=repository, capture_output=True, text=True
    )
    return (repository / "data.dvc").read_text() if shown.returncode else shown.stdout


@pytest.mark.slow
def test_the_default_set_is_the_pinned_one(repository, generator):
    """Every 40th drawing and all odd files; with other bytes, `dvc add data` pins another set."""
    people = list(portraits(SyntheticSettings()))
    drawings = [*people, *album(SyntheticSettings())]
    odd = [one for one in drawings if one.paths[0].startswith("album/odd/")]
    digest = hashlib.sha256(repr([TERMS, _truth_rows(SyntheticSettings())]).encode())
    sample = [*drawings[::40], *odd, *people[-4:]]  # the last four are broken on purpose
    for path, content in draw_all(sample, load_generator(generator)):
        digest.update(path.encode() + content)
    pinned = yaml.safe_load(pin(repository))["outs"][0]
    assert (pinned["md5"], digest.hexdigest()) == (
        "044f58961050bdf81073f8b0975109ed.dir",
        "ab9f258716ec73bd9fa164f70b5417cfb8720c3095ff0549f20bdc1d483f033b",
    )
    made = sum(len(drawing.paths) for drawing in drawings)
    assert pinned["nfiles"] == made + 2  # sources.json and album_truth.csv
