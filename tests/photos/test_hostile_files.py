"""Whatever lies in a folder, a reason comes out: no crash, no block, no leak of warnings."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.reasons import Reason
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo
from tests.hostile_corpus import KINDS, LIMITS, OPENED, make


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_opened_or_gives_a_reason_and_one_sentence(
    tmp_path: Path, kind: str
) -> None:
    expected = KINDS[kind][1]
    path = tmp_path / "photo.jpg"
    make(kind, path)
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        if expected == OPENED:
            assert open_photo(path, LIMITS).pixels.shape == (64, 64, 3)
        else:
            with pytest.raises(PhotoError) as caught:
                open_photo(path, LIMITS)
            assert caught.value.reason == expected
            sentence = str(caught.value)
            assert sentence.startswith(str(path)) and sentence.endswith(".")
            assert "\n" not in sentence
    assert [str(warning.message) for warning in leaked] == []


def test_there_are_sixty_kinds_and_every_reason_of_a_photo_is_met() -> None:
    assert len(KINDS) >= 60
    assert {expected for _, expected in KINDS.values()} == {
        *(Reason.EMPTY, Reason.NOT_A_PHOTO, Reason.UNREADABLE, Reason.VANISHED),
        *(Reason.TOO_LARGE, Reason.TOO_SMALL, OPENED),
    }


def test_every_truncation_of_a_photo_is_a_photo_or_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    for form in ("PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG", "AVIF"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path, format=form)
        whole = path.read_bytes()
        for length in range(1, len(whole), max(1, len(whole) // 25)):
            path.write_bytes(whole[:length])
            try:
                assert open_photo(path).pixels.shape == (32, 32, 3)
            except PhotoError as error:
                assert error.reason in (Reason.UNREADABLE, Reason.NOT_A_PHOTO), (form, length)


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "photo"
    for form in ("PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG", "AVIF"):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path, format=form)
        whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            places = rng.integers(0, min(whole.size, 300), 6)
            damaged[places] = rng.integers(0, 256, 6)
            path.write_bytes(damaged.tobytes())
            try:
                open_photo(path, PhotoLimits(max_pixels=1_000_000))
            except PhotoError as error:
                assert "\n" not in str(error)


def test_a_name_with_a_newline_stays_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.jpg"
    path.write_bytes(b"")
    with pytest.raises(PhotoError) as caught:
        open_photo(path)
    assert "\n" not in str(caught.value) and "a\\nb.jpg" in str(caught.value)


def test_a_raised_limit_opens_what_pillow_alone_would_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    path = tmp_path / "photo.jpg"
    make("cmyk", path)
    assert open_photo(path, PhotoLimits(max_pixels=5000)).pixels.shape == (64, 64, 3)


def test_importing_leaves_pillow_as_it_was_and_heif_unloaded() -> None:
    code = (
        "import sys; from PIL import Image; before = Image.MAX_IMAGE_PIXELS;"
        "import faceops.photos.open_photo;"
        "assert Image.MAX_IMAGE_PIXELS == before;"
        "assert 'pillow_heif' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
