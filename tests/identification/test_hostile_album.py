"""An album of nothing but hostile files: each gets its row, and the run goes on to its end."""

import os
from pathlib import Path

import pyarrow.parquet as pq

from faceops.base.reasons import Reason
from faceops.gallery.store import Gallery
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.release.bundle import Bundle
from tests.hostile_corpus import KINDS, LIMITS, OPENED, make

NO_FILES = ("pipe", "socket", "gone", "folder")
NAMES = (
    *("plain.jpg", "UPPER.JPEG", "no ending", "two..dots.jpg", "spaces  inside .jpg", "-dash.jpg"),
    *("quote'\".jpg", "new\nline.jpg", "tab\t.jpg", "comma,semi;.jpg", "=formula.jpg", "%s.jpg"),
    *(
        "Zo\u00eb.jpg",
        "\u5f20\u4f1f.jpg",
        "\u0645\u062d\u0645\u062f.jpg",
        "\U0001f600.jpg",
        "e\u0301.jpg",
    ),
    *("\u202egpj.exe.jpg", "<b>&amp;.jpg", "$(rm).jpg", "a" * 251 + ".jpg", "\\back.jpg"),
)


def test_every_file_gets_a_row_with_its_reason(
    gallery: Gallery, bundle: Bundle, tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    expected = {}
    for number, (kind, (_, reason)) in enumerate(KINDS.items()):
        path = album / f"{number:02d} {kind.replace('/', ' ')}.jpg"
        make(kind, path)
        if kind not in NO_FILES:
            expected[path.name] = str(Reason.NO_FACE if reason == OPENED else reason)
    for name in NAMES:
        make("progressive jpeg", album / name)
        expected[name] = str(Reason.NO_FACE)
    with_bytes = os.fsencode(album) + b"/not_utf8_\xff.jpg"
    Path(os.fsdecode(with_bytes)).write_bytes((album / NAMES[0]).read_bytes())
    expected["not_utf8_\\xff.jpg"] = str(Reason.NO_FACE)
    (album / "loop").symlink_to(album, target_is_directory=True)
    (album / ".hidden").mkdir()
    make("grey", album / ".hidden" / "photo.jpg")
    out = tmp_path / "out"
    summary = identify(
        album, gallery, bundle, out, IdentifySettings(annotate=True, xmp=True, limits=LIMITS)
    )
    rows = pq.read_table(out / "faces.parquet").to_pylist()
    assert {row["photo_path"]: row["reason"] for row in rows} == expected
    assert summary.sidecar_errors == [] and not list(album.rglob("*.xmp"))
    assert summary.photos == summary.rejected_photos == len(expected) >= 85
