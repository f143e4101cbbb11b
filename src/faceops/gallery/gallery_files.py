"""The files of a gallery, and a stamp by which a change of them is seen without reading them."""

from pathlib import Path

GALLERY_FILE = "gallery.json"
FACES_FILE = "faces.parquet"


def gallery_stamp(folder: Path) -> str:
    """Return size and modification time of the gallery's files; empty where one is missing."""
    try:
        found = [(folder / name).stat() for name in (GALLERY_FILE, FACES_FILE)]
    except OSError:
        return ""
    return " ".join(f"{status.st_size}:{status.st_mtime_ns}" for status in found)
