"""Source tree: a folder a person, photos in it or below it.

Source mnist: handwritten digits in IDX files (LeCun et al.), a "person" a digit.

Not faces: for trying the pipeline on something small and known.
"""

import gzip
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.dataset.synthetic.encode import png

SUFFIXES = frozenset(
    ".jpg .jpeg .jfif .png .webp .bmp .gif .tif .tiff .heic .heif .avif".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo as a source has it.

    Attributes:
        person: as the source spells the name.
        origin: names the photo within the source.
        file: the file name that it gets.
        content: the path of its file, or a function that makes its bytes.
    """

    person: str
    origin: str
    file: str
    content: Path | Callable[[], bytes]


def is_photo_name(path: Path) -> bool:
    """Return whether `path` is named as a photo, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def photos_below(folder: Path) -> list[Path]:
    """Return the files below `folder` that are named as photos, sorted; nothing hidden."""
    found = [
        path
        for path in folder.rglob("*")
        if is_photo_name(path)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted; hidden ones left out, as is macOS' `__MACOSX`."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


def folders_to_depth(folder: Path, depth: int) -> list[Path]:
    """Return `folder` and the folders at most `depth` levels below it, the nearer ones first."""
    level, found = [folder], [folder]
    for _ in range(depth):
        level = [below for one in level for below in subfolders(one)]
        found += level
    return found


def wrong_layout(folder: Path, source: str, expected: str) -> FaceOpsError:
    """Return the error for a folder that is not laid out as `source` is."""
    return FaceOpsError(
        f"{folder} is not laid out as the source {source}: {expected}; name the right folder or "
        "choose another source."
    )


def list_tree(root: Path) -> list[LabelledPhoto]:
    """Return the photos of `root`/<person>/**: each folder in `root` is a person.

    Raises:
        FaceOpsError: no folders with photos, or photos in no person's folder.
    """
    if loose := _photos_in(root):
        raise wrong_layout(
            root,
            "tree",
            f"{len(loose)} photos lie in no person's folder (the first is {loose[0].name}), and "
            "<person>/<photo>.jpg is expected",
        )
    photos = []
    for folder in subfolders(root):
        for path in photos_below(folder):
            file = "_".join(path.relative_to(folder).parts)
            origin = path.relative_to(root).as_posix()
            photos.append(LabelledPhoto(folder.name, origin, file, path))
    if not photos:
        raise wrong_layout(
            root, "tree", "no photos were found, and <person>/<photo>.jpg is expected"
        )
    return photos


def without_wrapper(unpacked: Path) -> Path:
    """Return the folder in an unpacked archive that holds the people's folders.

    Archives often have one top folder that is nobody: it holds no photos itself, but
    folders with photos. One person's folder of albums looks the same from outside, so a
    folder that the user names is never looked through in this way.
    """
    below = subfolders(unpacked)
    if len(below) != 1 or _photos_in(unpacked) or _photos_in(below[0]):
        return unpacked
    holds_people = any(_photos_in(folder) for folder in subfolders(below[0]))
    return below[0] if holds_people else unpacked


def _photos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_photo_name(path) and path.is_file())


_LFW_FILE = re.compile(r"(?P<person>.+)_\d{4}\.jpg")


def _photos_of(person: Path) -> list[Path]:
    def belongs(path: Path) -> bool:
        match = _LFW_FILE.fullmatch(path.name)
        return match is not None and match["person"] == person.name

    return sorted(path for path in person.iterdir() if belongs(path))


def photos_folder(root: Path) -> Path:
    """Return `root` or the folder at most two levels below it that holds LFW's people.

    Raises:
        FaceOpsError: there is none.
    """
    for folder in folders_to_depth(root, 2):
        # Ten are enough to tell: one person's folder may have been emptied.
        if any(_photos_of(person) for person in subfolders(folder)[:10]):
            return folder
    raise wrong_layout(root, "lfw", "<Person_Name>/<Person_Name>_0001.jpg is expected")


def list_lfw(root: Path) -> list[LabelledPhoto]:
    """Return LFW's photos at `root` or below it."""
    return [
        LabelledPhoto(person.name, f"{person.name}/{path.name}", path.name, path)
        for person in subfolders(photos_folder(root))
        for path in _photos_of(person)
    ]


def lfw_protocols(root: Path) -> list[Path]:
    """Return the files people*.txt and pairs*.txt in `root`, or beside or in the photos' folder."""
    photos = photos_folder(root)
    found: dict[str, Path] = {}
    for folder in (root, photos.parent, photos):
        for pattern in ("people*.txt", "pairs*.txt"):
            for path in sorted(folder.glob(pattern)):
                found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)]


_PREFIX = "pins_"


def list_pins(root: Path) -> list[LabelledPhoto]:
    """Return the photos of the folders pins_<Name> in `root` or at most two levels below it.

    Raises:
        FaceOpsError: there are no such folders, or no photos in them.
    """
    for parent in folders_to_depth(root, 2):
        people = [f for f in subfolders(parent) if f.name.lower().startswith(_PREFIX)]
        photos = [
            LabelledPhoto(
                folder.name[len(_PREFIX) :],
                path.relative_to(parent).as_posix(),
                "_".join(path.relative_to(folder).parts),
                path,
            )
            for folder in people
            for path in photos_below(folder)
        ]
        if photos:
            return photos
    raise wrong_layout(root, "pins", "folders pins_<Name> with photos are expected")


_KAGGLE_FACES_FILE = re.compile(r"(?P<person>.*[^\W\d_].*?)[_ ]+\(?\d+\)?")


def list_kaggle_faces(root: Path) -> list[LabelledPhoto]:
    """Return the photos <Name>_<number> below `root`, in whatever folder.

    Raises:
        FaceOpsError: no photos, or one that is named otherwise.
    """
    photos, first_other, seen = [], None, set()
    for path in photos_below(root):
        match = _KAGGLE_FACES_FILE.fullmatch(path.stem)
        if match is None:
            first_other = first_other or path
            continue
        # The set has every photo twice, in two folders of the same content.
        key = (path.name, path.stat().st_size)
        if key in seen:
            continue
        seen.add(key)
        origin = path.relative_to(root).as_posix()
        photos.append(LabelledPhoto(match["person"], origin, path.name, path))
    if not photos:
        raise wrong_layout(root, "kaggle-faces", "files <Name>_<number>.jpg are expected")
    if first_other is not None:
        raise FaceOpsError(
            f"{first_other} is not named <Name>_<number> as the source kaggle-faces has it; rename "
            "or remove it."
        )
    return photos


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


_PARTS = ("train", "t10k")
IMAGES, LABELS = 0x00000803, 0x00000801  # magic: uint8, three dimensions; uint8, one


def read_idx(path: Path, magic: int) -> np.ndarray:
    """Return the uint8 array in the IDX file `path`, gzipped or not.

    Raises:
        FaceOpsError: broken, another magic number, or a length that is not the header's.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); download it again.") from None
    dimensions = magic & 0xFF
    found = int.from_bytes(content[:4], "big")
    if found != magic:
        raise FaceOpsError(
            f"{path} has the magic number {found:#010x}, not {magic:#010x}; it is not the IDX file "
            "that its name says, download it again."
        )
    header = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    if len(content) - header != int(np.prod(sizes, dtype=object)):
        raise FaceOpsError(f"{path} has another length than its header says; download it again.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _find(root: Path, name: str) -> Path | None:
    for folder in folders_to_depth(root, 2):
        for candidate in (name, name + ".gz", name.replace("-idx", ".idx")):
            if (folder / candidate).is_file():
                return folder / candidate
    return None


def list_mnist(root: Path) -> list[LabelledPhoto]:
    """Return every digit as a grey PNG of 28 x 28 pixels of the "person" digit_<digit>.

    Raises:
        FaceOpsError: no IDX files, one that is broken, or counts that differ.
    """
    photos = []
    for part in _PARTS:
        images_path = _find(root, f"{part}-images-idx3-ubyte")
        labels_path = _find(root, f"{part}-labels-idx1-ubyte")
        if images_path is None and labels_path is None:
            continue
        if images_path is None or labels_path is None:
            lacking = "images-idx3" if images_path is None else "labels-idx1"
            raise wrong_layout(root, "mnist", f"{part}-{lacking}-ubyte(.gz) is missing")
        images, labels = read_idx(images_path, IMAGES), read_idx(labels_path, LABELS)
        if len(images) != len(labels):
            raise FaceOpsError(
                f"{images_path} has {len(images)} images, {labels_path} {len(labels)} labels; "
                "download both again."
            )
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = f"{part}_{number:05d}.png"
            photos.append(LabelledPhoto(f"digit_{label}", file, file, partial(png, image)))
    if not photos:
        raise wrong_layout(root, "mnist", "train-images-idx3-ubyte(.gz) and the like are expected")
    return photos
