"""Which of the files beside a photo is its sidecar."""

import os
import time
from pathlib import Path

import pytest

from faceops.identification.sidecars.place import SidecarPlaces


@pytest.mark.parametrize(
    ("beside", "sidecar"),
    [
        ([], "photo.jpg.xmp"),
        (["photo.xmp"], "photo.xmp"),
        (["photo.XMP"], "photo.XMP"),
        (["photo.jpg.XMP", "photo.xmp"], "photo.jpg.XMP"),
        (["photo.jpg.xmp", "photo.jpg.XMP"], "photo.jpg.xmp"),
        (["photo.jpg.xmp", "photo.xmp"], "photo.jpg.xmp"),
        (["photo.xmp", "photo.cr2"], "photo.jpg.xmp"),
        (["photo.xmp", "photo.png"], "photo.jpg.xmp"),
        (["photo.xmp", "photo"], "photo.jpg.xmp"),
        (["photo.xmp", "photo.cr2.xmp", "photo.jpg.txt", "photo2.png"], "photo.xmp"),
        (["Photo.xmp"], "photo.jpg.xmp"),
    ],
)
def test_lightrooms_name_is_taken_where_it_can_mean_no_other_file(
    tmp_path: Path, beside: list[str], sidecar: str
) -> None:
    for name in ("photo.jpg", *beside):
        (tmp_path / name).touch()
    assert SidecarPlaces().of(tmp_path / "photo.jpg").name == sidecar


def test_a_large_folder_is_listed_once(tmp_path: Path) -> None:
    photos = [tmp_path / f"{number:04d}.jpg" for number in range(1500)]
    for path in photos:
        os.close(os.open(path, os.O_CREAT))
        os.close(os.open(path.with_suffix(".xmp"), os.O_CREAT))
    began = time.process_time()
    sidecars = SidecarPlaces()
    assert [sidecars.of(photo) for photo in photos] == [p.with_suffix(".xmp") for p in photos]
    assert time.process_time() - began < 1.0  # a listing a photo takes many seconds
