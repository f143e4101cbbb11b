"""Remove a person from the sidecars that FaceOps wrote beside photos."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import valid_unicode
from faceops.base.progress import track
from faceops.gallery.folder import has_content
from faceops.identification.forget.output_folder import IsPerson
from faceops.identification.forget.traces import files_below
from faceops.identification.sidecars.sidecars import (
    MAX_BYTES,
    TEMPORARY,
    is_marked,
    names_of_ours,
    remove_person,
)
from faceops.identification.sidecars.xmp import XmpDocument
from faceops.photos.walk import SIDECAR


@dataclass
class ForgottenSidecars:
    """How many sidecars were searched, and how many entries were removed.

    Attributes:
        found: sidecars that still name the person, or that could not be read.
        elsewhere: sidecars in which others name the person, or that could not be searched for that.
        unreachable: folders that do not exist, are empty or may not be listed.
    """

    files: int = 0
    entries: int = 0
    found: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)


def forget_in_sidecars(
    folders: Iterable[Path], is_person: IsPerson, is_mentioned: IsPerson
) -> ForgottenSidecars:
    """Remove what FaceOps wrote of the person from every sidecar below `folders`.

    Every sidecar is parsed, in whatever encoding, and read again after it was changed; so are
    copies of them (photo.xmp~, photo.xmp_original) and those that were moved with their photos.
    Names that others wrote stay and are reported. Half-written sidecars of killed runs are deleted.

    Args:
        is_person: whether a text is the person's name.
        is_mentioned: whether a text contains it.
    """
    done = ForgottenSidecars()
    present = [folder for folder in folders if has_content(folder)]
    done.unreachable += [valid_unicode(str(folder)) for folder in folders if folder not in present]
    sidecars = files_below(present, done.unreachable, _is_sidecar)
    for path in track(sidecars, "search sidecars"):
        shown = valid_unicode(str(path))
        try:
            if path.name.endswith(TEMPORARY):
                path.unlink()
                continue
            done.files += 1
            document = _read(path)
            if any(map(is_person, names_of_ours(document))):
                done.entries += remove_person(path, is_person)
                if not path.exists():
                    continue
                document = _read(path)
                if any(map(is_person, names_of_ours(document))):
                    done.found.append(f"{shown}: the name, in a sidecar")
            if any(map(is_mentioned, document.texts())):
                done.elsewhere.append(f"{shown}: the name, in entries of other programs")
        except FaceOpsError as error:
            done.found.append(str(error))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) or is_marked(path):
                done.found.append(f"{shown}: cannot be read ({error}); inspect it, or remove it")
                continue
            done.elsewhere.append(f"{shown}: not searched for entries of other programs ({error})")
    return done


def _is_sidecar(name: str) -> bool:
    return SIDECAR in name.lower() or name.endswith(TEMPORARY)


def _read(path: Path) -> XmpDocument:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES / 1e6:g} megabytes")
    return XmpDocument(path.read_bytes())
