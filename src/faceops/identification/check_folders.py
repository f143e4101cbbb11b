"""Which folders a run may read and write."""

from pathlib import Path

from faceops.base.errors import UsageError


def check_folders(photos_dir: Path, out: Path, gallery: Path) -> None:
    """Refuse folders that cannot be right.

    Raises:
        UsageError: no photos there, or what is written would lie among the photos.
    """
    if not photos_dir.exists():
        raise UsageError(f"{photos_dir} does not exist; name a folder of photos, or one photo.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder for the results.")
    if not photos_dir.is_dir():
        return
    for what, folder in (("the results", out), ("the gallery", gallery)):
        if folder.resolve().is_relative_to(photos_dir.resolve()):
            raise UsageError(
                f"{folder} for {what} lies inside the photos' folder {photos_dir}, and the next "
                "run would take it for photos; name a folder outside."
            )
