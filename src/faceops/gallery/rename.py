"""Give an enrolled person another name, or join two entries of one person."""

from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.locks import folder_lock
from faceops.gallery.person_name import display_name, given_name, person_key
from faceops.gallery.store import Gallery


def rename(gallery_dir: Path, old: str, new: str) -> tuple[str, int]:
    """Call the person `old` `new`; return the name that is shown and how many faces have it.

    The gallery remembers it: enrolling the folder `old` again enrols the person as `new`.

    Raises:
        UsageError: there is no gallery, or `new` is no name.
        FaceOpsError: `old` is not enrolled, or `new` is, or was, the name of another person.
    """
    return _moved(gallery_dir, old, new, joins=False)


def merge(gallery_dir: Path, gone: str, kept: str) -> tuple[str, int]:
    """Make the faces of `gone` faces of `kept`, both enrolled; return as `rename`.

    Of a face that both have, one stays.

    Raises:
        UsageError: there is no gallery, or both names are one.
        FaceOpsError: one of them is not enrolled.
    """
    return _moved(gallery_dir, gone, kept, joins=True)


def _moved(gallery_dir: Path, old: str, new: str, *, joins: bool) -> tuple[str, int]:
    name = given_name(new)
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir):
        gallery = Gallery.open(gallery_dir, crops=True)
        held = {person_key(person): person for person in gallery.people}
        old_key, new_key = person_key(display_name(old)), person_key(name)
        if old_key not in held:
            raise FaceOpsError(f"{old} is not in the gallery {gallery_dir}.")
        if joins and old_key == new_key:
            raise UsageError(f"{old} and {new} are one name; name two people.")
        if joins and new_key not in held:
            raise FaceOpsError(f"{new} is not in the gallery {gallery_dir}; to rename: rename.")
        if not joins and new_key in held and new_key != old_key:
            raise FaceOpsError(
                f"{held[new_key]} is enrolled already; if both are one person: "
                f"faceops people merge {old!r} {new!r}"
            )
        earlier = gallery.aliases.get(new_key)
        if not joins and earlier is not None and person_key(earlier) != old_key:
            # Results may hold it still: whose they are must stay known, to forget them one day.
            raise FaceOpsError(f"{new} was {earlier}'s name before; choose another one.")
        name = held[new_key] if joins else name
        names = {person: person for person in gallery.people} | {held[old_key]: name}
        aliases = {
            key: name if person_key(target) == old_key else target
            for key, target in gallery.aliases.items()
        }
        if old_key != new_key:
            aliases[old_key] = name
        aliases.pop(new_key, None)
        changed = gallery.renamed(names).with_aliases(aliases)
        changed.save()
    return name, sum(face.person == name for face in changed.faces)
