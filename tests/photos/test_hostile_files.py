"""Whatever lies in a folder, a reason comes out: no crash, no block, no leak of warnings."""

import os
import socket
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo
from faceops.reasons import Reason


def jpeg(path: Path, side: int = 64) -> Path:
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="JPEG")
    return path


def truncated(path: Path) -> None:
    content = jpeg(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def header_only(path: Path) -> None:
    path.write_bytes(jpeg(path).read_bytes()[:20])


def flipped_bits(path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path, format="PNG")
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") + 8
    content[at : at + 8] = bytes(255 - byte for byte in content[at : at + 8])
    path.write_bytes(content)


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def bomb(path: Path) -> None:
    """A few bytes that promise 60,000 x 60,000 pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 999)))


def just_over(path: Path) -> None:
    """Between Pillow's warning and its error."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 10_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 999)))


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


HOSTILE: dict[str, tuple[Callable[[Path], object], Reason]] = {
    "empty": (lambda path: path.write_bytes(b""), Reason.EMPTY),
    "text": (lambda path: path.write_text("not a photo"), Reason.NOT_A_PHOTO),
    "html": (lambda path: path.write_text("<html><body>404"), Reason.NOT_A_PHOTO),
    "pdf": (lambda path: path.write_bytes(b"%PDF-1.7\n%\xe2\xe3"), Reason.NOT_A_PHOTO),
    "postscript": (
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n"),
        Reason.NOT_A_PHOTO,
    ),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), Reason.NOT_A_PHOTO),
    "noise": (
        lambda path: path.write_bytes(np.random.default_rng(2).bytes(5000)),
        Reason.NOT_A_PHOTO,
    ),
    "truncated": (truncated, Reason.UNREADABLE),
    "header only": (header_only, Reason.UNREADABLE),
    "flipped bits": (flipped_bits, Reason.UNREADABLE),
    "broken tiff": (lambda path: path.write_bytes(b"II*\0" + b"\xff" * 60), Reason.UNREADABLE),
    "broken webp": (
        lambda path: path.write_bytes(b"RIFF\xff\0\0\0WEBPVP8 " + bytes(40)),
        Reason.UNREADABLE,
    ),
    "broken gif": (lambda path: path.write_bytes(b"GIF89a" + b"\xff" * 9), Reason.UNREADABLE),
    "bomb": (bomb, Reason.TOO_LARGE),
    "just over the limit": (just_over, Reason.TOO_LARGE),
    "many bytes": (lambda path: path.write_bytes(bytes(300_000)), Reason.TOO_LARGE),
    "tiny": (lambda path: jpeg(path, 8), Reason.TOO_SMALL),
    "folder": (lambda path: path.mkdir(), Reason.NOT_A_PHOTO),
    "pipe": (lambda path: os.mkfifo(path), Reason.NOT_A_PHOTO),
    "socket": (unix_socket, Reason.NOT_A_PHOTO),
    "gone": (lambda path: None, Reason.VANISHED),
    "dangling link": (lambda path: path.symlink_to("nowhere"), Reason.VANISHED),
    "link to itself": (link_to_itself, Reason.UNREADABLE),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_gives_a_reason_and_one_sentence(tmp_path: Path, kind: str) -> None:
    make, reason = HOSTILE[kind]
    path = tmp_path / "photo.jpg"
    make(path)
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        with pytest.raises(PhotoError) as caught:
            open_photo(path, PhotoLimits(max_bytes=200_000))
    assert caught.value.reason == reason
    sentence = str(caught.value)
    assert sentence.startswith(str(path)) and sentence.endswith(".") and "\n" not in sentence
    assert [str(warning.message) for warning in leaked] == []


def test_heic_garbage_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(PhotoError) as caught:
        open_photo(path)
    assert caught.value.reason == Reason.UNREADABLE


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
    path = jpeg(tmp_path / "photo.jpg", 64)
    assert open_photo(path, PhotoLimits(max_pixels=5000)).pixels.shape == (64, 64, 3)


def test_importing_leaves_pillow_as_it_was_and_heif_unloaded() -> None:
    code = (
        "import sys; from PIL import Image; before = Image.MAX_IMAGE_PIXELS;"
        "import faceops.photos.open_photo;"
        "assert Image.MAX_IMAGE_PIXELS == before;"
        "assert 'pillow_heif' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
