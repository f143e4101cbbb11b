"""Embed a gallery's faces anew, from their crops: another release, the same people, no photos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.locks import folder_lock
from faceops.base.progress import track
from faceops.gallery.store import Gallery, GalleryFace, crop_of
from faceops.release.bundle import Bundle

BLOCK = 64  # faces that are decoded and embedded at once
MOST_NAMED = 5  # damaged crops that are named one by one
ANEW = "enrol the people from their photos into a new folder"


@dataclass(frozen=True)
class Reembedding:
    """What was done: `embedded` faces now, 0 when the gallery was of this contract already.

    `noted` says that the gallery had not known how its crops were made, and does now.
    """

    embedded: int
    people: int
    faces: int
    before: str
    contract_id: str
    noted: bool = False


def reembed(gallery_dir: Path, bundle: Bundle) -> Reembedding:
    """Bring the gallery under the contract of `bundle`, all of it or nothing.

    Names, aliases, boxes, origins and crops stay as they are. It takes a release whose faces are
    cut alike; done again it does nothing.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: the gallery's crops were made in another way, or it is not known how; one is
            missing or damaged; the gallery is in use, damaged or cannot be written.
    """
    release = bundle.release
    Gallery.open(gallery_dir)  # before the lock, which would make the folder
    with folder_lock(gallery_dir):
        gallery = Gallery.open(gallery_dir, crops=True)
        done = Reembedding(
            embedded=0,
            people=len(gallery.people),
            faces=len(gallery.faces),
            before=gallery.contract_id,
            contract_id=release.contract_id,
        )
        if gallery.contract_id == release.contract_id:
            noted = not gallery.crops_id
            if noted or not gallery.whole:
                replace(gallery, crops_id=release.crops_id).save()
            return replace(done, noted=noted)
        _require_crops(gallery, bundle)
        _require_pictures(gallery)
        replace(
            gallery,
            contract_id=release.contract_id,
            embedding_size=release.embedding_size,
            faces=tuple(_embedded(gallery.faces, bundle)),
        ).save()
    return replace(done, embedded=len(gallery.faces))


def _require_crops(gallery: Gallery, bundle: Bundle) -> None:
    if not gallery.crops_id:
        raise FaceOpsError(
            f"the gallery {gallery.folder} does not say how its crops were made, an earlier "
            "faceops wrote it: run this once with the release that it was enrolled with "
            f"(contract {gallery.contract_id[:12]}), which notes it, then again; or {ANEW}."
        )
    if gallery.crops_id != bundle.release.crops_id:
        raise FaceOpsError(
            f"the crops in the gallery {gallery.folder} were cut in another way than {bundle.name} "
            f"cuts faces (its detector, landmarks or alignment differ): {ANEW}."
        )


def _require_pictures(gallery: Gallery) -> None:
    broken = []
    for face in track(gallery.faces, "check crops"):
        try:
            crop_of(face.crop)
        except ValueError:
            broken.append(f"{face.person} ({face.photo})")
    if broken:
        more = f" and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
        raise FaceOpsError(
            f"{len(broken)} of {len(gallery.faces)} crops in the gallery {gallery.folder} are "
            f"missing or damaged: {', '.join(broken[:MOST_NAMED])}{more}. Nothing was changed; "
            f"restore the gallery from a copy, or {ANEW}."
        )


def _embedded(faces: Sequence[GalleryFace], bundle: Bundle) -> Iterator[GalleryFace]:
    blocks = (faces[start : start + BLOCK] for start in range(0, len(faces), BLOCK))

    def embed() -> Iterator[GalleryFace]:
        for block in blocks:
            rows = bundle.embed(np.stack([crop_of(face.crop) for face in block]))
            yield from (replace(face, embedding=row) for face, row in zip(block, rows, strict=True))

    return track(embed(), "embed", total=len(faces))
