"""The crop stage: an array of crops, its index and a contact sheet from a manifest."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.dataset.data_folder import SCHEMA as MANIFEST_SCHEMA
from faceops.dataset.data_folder import write_manifest
from faceops.dataset.synthetic.people import load_generator
from faceops.faces.contact_sheets import draw_contact_sheet
from faceops.faces.crop_photos import SCHEMA, CropSettings, choose_face, crop_photos
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import open_photo
from faceops.stages import crop as crop_stage


@pytest.fixture(scope="module")
def finder(weights_dir: Path) -> FaceFinder:
    detector = with_symbolic_size((weights_dir / "face_detection_yunet_2023mar.onnx").read_bytes())
    return FaceFinder(Detector(detector), LandmarkRefiner(weights_dir / "onet.onnx"))


@pytest.fixture(scope="module")
def data(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of photos: twelve faces, two in one, none, one broken, one gone, one rejected."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "photos" / "Ann_Other"
    folder.mkdir(parents=True)
    latents = np.random.default_rng(1).standard_normal((12, 100))
    tiles = load_generator(weights_dir / "weights.tar")(latents)
    faces = [Image.fromarray(tile).resize((112, 112), Image.Resampling.BICUBIC) for tile in tiles]
    for number, face in enumerate(faces):
        face.save(folder / f"{number:02}.png")
    two = Image.new("RGB", (420, 160), (120, 120, 120))
    two.paste(faces[0], (10, 20))
    two.paste(faces[1], (170, 20))
    two.save(folder / "two.png")
    Image.new("RGB", (200, 200), (90, 120, 90)).save(folder / "none.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "rejected.txt").write_text("not a photo")
    return root


@pytest.fixture(scope="module")
def manifest(data: Path) -> pa.Table:
    rows = []
    for path in sorted((data / "photos").rglob("*.*"), reverse=True):
        rejected = path.suffix == ".txt"
        rows.append(
            {
                "photo_id": sha256_file(path),
                "path": path.relative_to(data).as_posix(),
                "person": "Ann_Other",
                "width": 112,
                "height": 112,
                "source": "test",
                "split": "",
                "status": "rejected" if rejected else "accepted",
                "reason": "not_a_photo" if rejected else "",
            }
        )
    rows.append({**rows[0], "path": "photos/Ann_Other/gone.png", "status": "accepted"})
    rows[-1]["reason"] = ""
    return pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)


@pytest.fixture(scope="module")
def cropped(
    manifest: pa.Table, data: Path, finder: FaceFinder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The outputs for the manifest, with the default settings and two workers."""
    folder = tmp_path_factory.mktemp("cropped")
    accepted, reasons = crop_photos(manifest, data, folder, finder, CropSettings(), workers=2)
    assert accepted >= 12 and accepted + sum(reasons.values()) == manifest.num_rows
    return folder


def test_every_photo_of_the_manifest_has_its_row(manifest, cropped):
    table = pq.read_table(cropped / "faces.parquet")
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert [row["path"] for row in rows] == sorted(manifest["path"].to_pylist())
    reasons = {Path(row["path"]).name: row["reason"] for row in rows}
    assert reasons["none.png"] == "no_face"
    assert reasons["broken.jpg"] == "unreadable"
    assert reasons["gone.png"] == "vanished"
    assert reasons["rejected.txt"] == "not_a_photo"
    assert reasons["two.png"] == ""
    accepted = [row for row in rows if row["status"] == "accepted"]
    assert [row["crop"] for row in accepted] == list(range(len(accepted)))
    assert all(row["crop"] == -1 for row in rows if row["status"] == "rejected")
    assert all(len(row["landmarks"]) == 10 and row["quality"] > 0 for row in accepted)
    crops = np.load(cropped / "crops.npy", mmap_mode="r")
    assert crops.shape == (len(accepted), 112, 112, 3) and crops.dtype == np.uint8
    assert sorted(path.name for path in cropped.iterdir()) == ["crops.npy", "faces.parquet"]


def test_training_and_identification_get_the_same_bytes(data, finder, cropped):
    """Both use one alignment: the stored crop is the one that the finder returns."""
    crops = np.load(cropped / "crops.npy", mmap_mode="r")
    for row in pq.read_table(cropped / "faces.parquet").to_pylist():
        if row["crop"] < 0:
            continue
        pixels = open_photo(data / row["path"]).pixels
        size = pixels.shape[1], pixels.shape[0]
        face = choose_face(finder.find(pixels), size, CropSettings())
        assert face is not None
        assert np.array_equal(face.crop, crops[row["crop"]])


def test_the_bytes_do_not_depend_on_the_number_of_workers(
    manifest, data, finder, cropped, tmp_path
):
    crop_photos(manifest, data, tmp_path, finder, CropSettings(), workers=5)
    for name in ("crops.npy", "faces.parquet"):
        assert (tmp_path / name).read_bytes() == (cropped / name).read_bytes()


def test_modes_and_policies_change_what_is_kept(manifest, data, finder, tmp_path):
    def reasons(settings: CropSettings) -> dict[str, str]:
        crop_photos(manifest, data, tmp_path, finder, settings)
        rows = pq.read_table(tmp_path / "faces.parquet").to_pylist()
        return {Path(row["path"]).name: row["reason"] for row in rows}

    assert reasons(CropSettings(several_faces="skip"))["two.png"] == "several_faces"
    assert reasons(CropSettings(mode="box"))["two.png"] == ""
    center = reasons(CropSettings(mode="center", center_ratio=1.0))
    assert center["none.png"] == "" and center["broken.jpg"] == "unreadable"
    row = pq.read_table(tmp_path / "faces.parquet").to_pylist()[0]
    assert row["landmarks"] is None and row["detector_score"] is None
    crops = np.load(tmp_path / "crops.npy")
    whole = np.asarray(Image.open(data / row["path"]).convert("RGB"))
    assert np.array_equal(crops[0], whole)  # 112 x 112 already


def test_no_face_at_all_is_an_error_with_advice(manifest, data, finder, tmp_path):
    with pytest.raises(FaceOpsError, match=r"face_too_small.*lower crop\.min_face"):
        crop_photos(manifest, data, tmp_path, finder, CropSettings(min_face=5000))
    with pytest.raises(FaceOpsError, match="import photos"):
        crop_photos(manifest.slice(0, 0), data, tmp_path, finder, CropSettings())
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_faces_of_low_quality_are_rejected_and_keep_their_figures(
    manifest, data, finder, cropped, tmp_path
):
    figures = pq.read_table(cropped / "faces.parquet")["quality"].to_pylist()
    middle = float(np.median([figure for figure in figures if figure is not None]))
    crop_photos(manifest, data, tmp_path, finder, CropSettings(min_quality=middle))
    rows = pq.read_table(tmp_path / "faces.parquet").to_pylist()
    poor = [row for row in rows if row["reason"] == "low_quality"]
    assert poor and all(row["quality"] <= middle and row["width"] > 0 for row in poor)


def test_the_contact_sheet_is_the_same_for_the_same_faces(data, cropped):
    table, crops = pq.read_table(cropped / "faces.parquet"), np.load(cropped / "crops.npy")
    sheets = [draw_contact_sheet(table, crops, data, PhotoLimits()) for _ in range(2)]
    assert sheets[0].tobytes() == sheets[1].tobytes()
    many = pa.concat_tables([table] * 30)
    assert draw_contact_sheet(many, crops, data, PhotoLimits()).height < 2100


def test_the_stage_reads_params_and_writes_its_outputs(
    manifest, data, repository, tmp_path, monkeypatch, capsys
):
    shutil.copy(repository / "params.yaml", tmp_path)
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "build" / "validate").mkdir(parents=True)
    write_manifest(manifest, tmp_path / "build" / "validate" / "manifest.parquet")
    monkeypatch.chdir(tmp_path)
    crop_stage.main()
    written = sorted(path.name for path in (tmp_path / "build" / "crop").iterdir())
    assert written == ["contact_sheet.png", "crops.npy", "faces.parquet"]
    assert "faces kept; rejected: " in capsys.readouterr().out
