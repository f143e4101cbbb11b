"""Source celeba: CelebA's photos and identity_CelebA.txt (Liu et al. 2015)."""

from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.dataset.sources.labelled_photo import LabelledPhoto, photos_below, wrong_layout

IDENTITIES = "identity_CelebA.txt"


def read_identities(path: Path) -> dict[str, str]:
    """Return photo's file name -> number of the person.

    Raises:
        FaceOpsError: a line that is not `<file> <number>`.
    """
    identities = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); download it again.") from None
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or not parts[1].isdigit():
            raise FaceOpsError(
                f"{path} line {number} is {line[:80]!r}, not `<file> <number>`; download it again."
            )
        identities[parts[0]] = parts[1]
    return identities


def list_celeba(root: Path) -> list[LabelledPhoto]:
    """Return the photos below `root`, each of the person that the identity file says.

    Photos that the file lists and the folder lacks are no error: part of the set may be at hand.

    Raises:
        FaceOpsError: no identity file, no photos, or a photo without a row.
    """
    lists = sorted(root.rglob(IDENTITIES)) or sorted(root.parent.glob(IDENTITIES))
    if not lists:
        raise wrong_layout(root, "celeba", f"{IDENTITIES} is expected in it or beside it")
    identities = read_identities(lists[0])
    photos = []
    for path in photos_below(root):
        if path.name not in identities:
            raise FaceOpsError(
                f"{lists[0]} has no row for {path.name}; download it again or remove the photo."
            )
        person = f"CelebA_{identities[path.name]}"
        photos.append(LabelledPhoto(person, path.relative_to(root).as_posix(), path.name, path))
    if not photos:
        raise wrong_layout(root, "celeba", "no photos were found beside the identity file")
    return photos
