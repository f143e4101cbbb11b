"""Let an earlier name of a person go: whoever is enrolled under it is another one."""

from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.locks import folder_lock
from faceops.gallery.person_name import display_name, person_key
from faceops.gallery.store import Gallery


def unalias(gallery_dir: Path, name: str) -> str:
    """Drop the earlier name `name`, in any spelling; return the person who had it.

    The faces stay with that person.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: `name` is no earlier name of anybody; the gallery is in use or damaged.
    """
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir):
        gallery = Gallery.open(gallery_dir, crops=True)
        key = person_key(display_name(name))
        if key not in gallery.aliases:
            raise FaceOpsError(
                f"{name} is not an earlier name of anybody in the gallery {gallery_dir}; "
                "`faceops people list` shows the earlier names."
            )
        others = {old: new for old, new in gallery.aliases.items() if old != key}
        gallery.with_aliases(others).save()
        return gallery.aliases[key]
