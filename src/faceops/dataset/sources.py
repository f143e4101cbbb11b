"""The sources of labelled photos for `faceops data import`: one entry of SOURCES each."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from faceops.base.errors import FaceOpsError
from faceops.base.files import valid_unicode
from faceops.photos.formats import FORMATS
from faceops.photos.walk import SYSTEM_NAMES

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class SourcePhoto:
    person: str  # the name as the source spells it
    origin: str  # path or name of the photo within the source, unique in it
    file_name: str  # the name of the imported file
    read: Callable[[], bytes]  # returns the bytes of that file
    path: Path | None = None  # of the file in the source; None of a part of a file


@dataclass(frozen=True)
class Source:
    """How one kind of data set is read."""

    layout: str  # the files that it expects, for `--help` and error messages
    # Returns the photos in a folder; none if the folder has another layout
    list_photos: Callable[[Path], list[SourcePhoto]]
    terms: str  # terms of use, recorded in sources.json of the data folder
    # Returns evaluation protocols to import as well
    list_protocols: Callable[[Path], list[Path]] = lambda folder: []
    # Whether an archive may have one folder around the folders of the people
    unwrap_archive: bool = False


def _is_photo(path: Path) -> bool:
    is_known = any(path.suffix.lower() in each.suffixes for each in FORMATS)
    return is_known and not path.name.startswith(".") and path.is_file()


def _photos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_photo(path))


def _photos_below(folder: Path) -> list[Path]:
    """Return the photos in `folder` and its folders, sorted, without hidden ones."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if _is_photo(path)}
    shown = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    return [found[path] for path in sorted(shown, key=Path.as_posix)]


def _subfolders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted, without hidden ones and those of systems."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name.lower() not in SYSTEM_NAMES
    )


def _folders_to_depth(folder: Path, depth: int = 2) -> list[Path]:
    """Return `folder` and the folders at most `depth` levels below it, the nearer ones first."""
    level, found = [folder], [folder]
    for _ in range(depth):
        level = [below for one in level for below in _subfolders(one)]
        found += level
    return found


def _photo(person: str, path: Path, root: Path, file_name: str = "") -> SourcePhoto:
    origin = valid_unicode(path.relative_to(root).as_posix())
    return SourcePhoto(person, origin, valid_unicode(file_name or path.name), path.read_bytes, path)


def _photos_of_folders(root: Path, people: Iterable[tuple[str, Path]]) -> list[SourcePhoto]:
    return [
        _photo(person, path, root, "_".join(path.relative_to(folder).parts))
        for person, folder in people
        for path in _photos_below(folder)
    ]


def list_tree(root: Path) -> list[SourcePhoto]:
    """Return the photos of `root`/<person>/**: each folder in `root` is a person.

    Raises FaceOpsError: photos beside the folders of the people.
    """
    if loose := _photos_in(root):
        raise FaceOpsError(
            f"{root} is not laid out as the source tree: {len(loose)} photos are in no person's "
            f"folder (the first is {loose[0].name}), and <person>/<photo>.jpg is expected; move "
            "them, name the right folder or choose another source."
        )
    return _photos_of_folders(root, [(folder.name, folder) for folder in _subfolders(root)])


def without_wrapper(unpacked: Path) -> Path:
    """Return the folder in an unpacked archive that holds the folders of the people.

    Archives often have one top folder that is not a person: it has no photos itself, but folders
    with photos. A person with albums looks the same, so only archives are unwrapped.
    """
    below = _subfolders(unpacked)
    if len(below) != 1 or _photos_in(unpacked) or _photos_in(below[0]):
        return unpacked
    holds_people = any(_photos_in(folder) for folder in _subfolders(below[0]))
    return below[0] if holds_people else unpacked


def _lfw_photos_of(person: Path) -> list[Path]:
    form = re.compile(re.escape(person.name) + r"_\d{4}\.jpg")
    return sorted(path for path in person.iterdir() if form.fullmatch(path.name))


def _lfw_people(root: Path) -> Path | None:
    """Return `root`, or the folder at most two levels below it, that holds LFW's people."""
    for folder in _folders_to_depth(root):
        # One folder does not identify the layout: it may be empty.
        if any(_lfw_photos_of(person) for person in _subfolders(folder)[:10]):
            return folder
    return None


def list_lfw(root: Path) -> list[SourcePhoto]:
    """Return the photos of Labeled Faces in the Wild."""
    if (people := _lfw_people(root)) is None:
        return []
    return [
        _photo(person.name, path, people)
        for person in _subfolders(people)
        for path in _lfw_photos_of(person)
    ]


def list_lfw_protocols(root: Path) -> list[Path]:
    """Return people*.txt and pairs*.txt in `root`, or beside or in the folder of the people."""
    people = _lfw_people(root) or root
    found: dict[str, Path] = {}
    for folder in (people, people.parent, root):  # the last one wins
        found |= {path.name: path for path in folder.glob("*.txt")}
    return [found[name] for name in sorted(found) if name.startswith(("people", "pairs"))]


def list_pins(root: Path) -> list[SourcePhoto]:
    """Return the photos of the folders pins_<Name> in `root` or at most two levels below it."""
    prefix = "pins_"
    for parent in _folders_to_depth(root):
        people = [folder for folder in _subfolders(parent) if folder.name.lower()[:5] == prefix]
        if photos := _photos_of_folders(parent, [(f.name[len(prefix) :], f) for f in people]):
            return photos
    return []


_KAGGLE_FACES_FILE = re.compile(r"(?P<person>.*[^\W\d_].*?)[_ ]+\(?\d+\)?")


def list_kaggle_faces(root: Path) -> list[SourcePhoto]:
    """Return the photos <Name>_<number> below `root`, in any folder.

    Raises FaceOpsError: a photo with another name.
    """
    # The set has every photo twice, in two folders of the same content.
    photos: dict[tuple[str, int], SourcePhoto] = {}
    others = []
    for path in _photos_below(root):
        if match := _KAGGLE_FACES_FILE.fullmatch(path.stem):
            key = path.name, path.stat().st_size
            photos.setdefault(key, _photo(match["person"], path, root))
        else:
            others.append(path)
    if photos and others:
        raise FaceOpsError(
            f"{others[0]} is not named <Name>_<number> as the source kaggle-faces requires; "
            "rename or remove it."
        )
    return list(photos.values())


_CELEBA_IDENTITIES = "identity_CelebA.txt"


def list_celeba(root: Path) -> list[SourcePhoto]:
    """Return the photos below `root` with the person that the identity file names.

    Photos that the file lists and the folder lacks are ignored: part of the set may be present.

    Raises FaceOpsError: a wrong line in the identity file, or a photo that it does not list.
    """
    lists = sorted(root.rglob(_CELEBA_IDENTITIES)) or sorted(root.parent.glob(_CELEBA_IDENTITIES))
    if not lists:
        return []
    identities = _read_celeba_identities(lists[0])
    photos = []
    for path in _photos_below(root):
        if path.name not in identities:
            raise FaceOpsError(
                f"{lists[0]} has no row for {path.name}; download it again or remove the photo."
            )
        photos.append(_photo(f"CelebA_{identities[path.name]}", path, root))
    return photos


def _read_celeba_identities(path: Path) -> dict[str, str]:
    """Return file name of a photo -> number of the person."""
    identities = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); download it again.") from None
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if parts and (len(parts) != 2 or not parts[1].isdigit()):
            raise FaceOpsError(
                f"{path} line {number} is {line[:80]!r}, not `<file> <number>`; download it again."
            )
        if parts:
            identities[parts[0]] = parts[1]
    return identities


def list_mnist(root: Path) -> list[SourcePhoto]:
    """Return each digit as a grey PNG of 28 x 28 pixels of the "person" digit_<digit>.

    Raises FaceOpsError: a file that is missing or broken, or counts that differ.
    """
    from faceops.dataset.synthetic.people import png

    photos = []
    for part in ("train", "t10k"):
        names = [f"{part}-{what}-ubyte" for what in ("images-idx3", "labels-idx1")]
        paths = {name: path for name in names if (path := _find_idx(root, name))}
        if not paths:
            continue
        if lacking := [name for name in names if name not in paths]:
            raise FaceOpsError(f"{root} lacks {lacking[0]}(.gz); download it as well.")
        images, labels = read_idx(paths[names[0]], 3), read_idx(paths[names[1]], 1)
        if len(images) != len(labels):
            raise FaceOpsError(
                f"{root} has {len(images)} images in {names[0]} and {len(labels)} labels in "
                f"{names[1]}; download both again."
            )
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            name = f"{part}_{number:05d}.png"
            photos.append(SourcePhoto(f"digit_{label}", name, name, partial(png, image)))
    return photos


def _find_idx(root: Path, name: str) -> Path | None:
    for folder in _folders_to_depth(root):
        for candidate in (name, name + ".gz", name.replace("-idx", ".idx")):
            if (folder / candidate).is_file():
                return folder / candidate
    return None


def read_idx(path: Path, ndim: int) -> "np.ndarray":
    """Return the uint8 array of `ndim` dimensions in the IDX file `path`, gzipped or not.

    Raises FaceOpsError: broken, another magic number, or a length that differs from the header.
    """
    import numpy as np

    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); download it again.") from None
    expected, found = 0x800 | ndim, int.from_bytes(content[:4], "big")
    if found != expected:
        raise FaceOpsError(
            f"{path} has the magic number {found:#010x}, not {expected:#010x}; it is not the IDX "
            "file that its name says, download it again."
        )
    header = 4 + 4 * ndim
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    if len(content) - header != int(np.prod(shape, dtype=object)):
        raise FaceOpsError(f"{path} differs in length from its header; download it again.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


REVIEWED = "reviewed"  # the source of faces that people decided, see `faceops.dataset.data_folder`
SOURCES = {
    "tree": Source(
        "<person>/<photo>.jpg: a folder per person, photos in it or below it",
        list_tree,
        "the importer's own photos: consent and rights are theirs to keep",
        unwrap_archive=True,
    ),
    "lfw": Source(
        "<Person_Name>/<Person_Name>_0001.jpg, with people*.txt and pairs*.txt beside them",
        list_lfw,
        "research benchmark of the University of Massachusetts; not for vetting products",
        list_protocols=list_lfw_protocols,
    ),
    "pins": Source(
        "pins_<Name>/<photo>.jpg",
        list_pins,
        "collected from Pinterest; the photos' owners have the rights",
    ),
    "kaggle-faces": Source(
        "<Name>_<number>.jpg, in any folder",
        list_kaggle_faces,
        "see the Kaggle page it was taken from",
    ),
    "celeba": Source(
        f"photos, with {_CELEBA_IDENTITIES} among or beside them",
        list_celeba,
        "non-commercial research only (Chinese University of Hong Kong)",
    ),
    "mnist": Source(
        "train-images-idx3-ubyte(.gz) and the other IDX files; digits, to try the pipeline",
        list_mnist,
        "free to use (LeCun, Cortes, Burges)",
    ),
}
