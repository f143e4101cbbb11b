"""Copy a registered bundle out of the registry, to be used by `--bundle`, or elsewhere."""

import shutil
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import atomic_folder
from faceops.release.bundle import check_files
from faceops.release.registry.find_release import Found, load_found
from faceops.release.registry.versions import Version


def export_bundle(version: Version, folder: Path) -> Path:
    """Write the version's bundle to `folder`, which is not there yet or empty; all of it, or none.

    Raises:
        UsageError: something is in `folder`.
        FaceOpsError: the bundle is damaged, or `folder` cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; name a new one.")

    def checked(found: Found) -> Found:
        check_files(found.folder)
        return found

    found = load_found(version.address, checked)
    folder = folder.resolve()
    try:
        with atomic_folder(folder) as temporary:
            shutil.copytree(found.folder, temporary, dirs_exist_ok=True)
    except OSError as error:
        raise FaceOpsError(
            f"{folder} cannot be written ({error.strerror or error}); choose another."
        ) from None
    return folder
