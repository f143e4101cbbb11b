"""Embed a gallery's faces again from their crops, for another release; needs no photos."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.work import track
from faceops.faces.quality import QUALITY_VERSION, measure
from faceops.gallery.faces_file import GalleryFace, has_length_1
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import (
    Gallery,
    UnfinishedWork,
    load_crop,
    locked_gallery,
    remove_unfinished,
)
from faceops.release.bundle import Bundle

BLOCK = 64  # faces that are decoded and embedded at once
MAX_NAMED = 5  # damaged crops that are named one by one
ENROL_ANEW = "enrol the people from their photos into a new folder"


@dataclass(frozen=True)
class Reembedding:
    """What was done: `embedded` faces, 0 when the gallery was of this contract already.

    `noted` is True when the gallery did not state how its crops were made, and does now.
    `left_out` are the faces, as "person (photo)", whose crops were lost.
    """

    embedded: int
    people: int
    faces: int
    before: str
    contract_id: str
    noted: bool = False
    left_out: tuple[str, ...] = ()


def reembed(gallery_dir: GalleryPlace, bundle: Bundle) -> Reembedding:
    """Bring the gallery under the contract of `bundle`, all of it or nothing.

    Names, aliases, boxes, origins and crops stay as they are; quality is measured anew. A face
    whose crop was lost, see `gallery repair`, is removed. Called again, it does nothing, unless an
    embedding is damaged; interrupted, it continues.

    Raises:
        UsageError, FaceOpsError: as `locked_gallery`.
        FaceOpsError: the gallery's crops were made in another way, or it is not known how; one is
            missing or damaged.
    """
    release = bundle.release
    with locked_gallery(gallery_dir) as gallery:
        done = Reembedding(
            embedded=0,
            people=len(gallery.people),
            faces=len(gallery.faces),
            before=gallery.contract_id,
            contract_id=release.contract_id,
        )
        is_whole = has_length_1(gallery.embeddings).all()
        if gallery.contract_id == release.contract_id and is_whole:
            remove_unfinished(gallery_dir)
            if gallery.crops_id:
                return done
            replace(gallery, crops_id=release.crops_id).save()
            return replace(done, noted=True)
        _check_crops_id(gallery, bundle)
        lost = gallery.faces.where("crop_id", [""])
        left_out = tuple(f"{one.person} ({one.photo})" for one in gallery.faces.take(lost))
        gallery = gallery.without(lost)
        replace(
            gallery,
            contract_id=release.contract_id,
            embedding_size=release.embedding_size,
            faces=gallery.faces.with_embeddings(*_embedded(gallery, bundle)),
        ).save()
    return replace(done, embedded=len(gallery.faces), left_out=left_out)


def _check_crops_id(gallery: Gallery, bundle: Bundle) -> None:
    if not gallery.crops_id:
        raise FaceOpsError(
            f"the gallery {gallery.storage} does not say how its crops were made, an earlier "
            "faceops wrote it: run this once with the release that it was enrolled with "
            f"(contract {gallery.contract_id[:12]}), which notes it, then again; or {ENROL_ANEW}."
        )
    if not bundle.release.can_embed(gallery.crops_id):
        raise FaceOpsError(
            f"the crops in the gallery {gallery.storage} were cut in another way than "
            f"{bundle.name} cuts faces (its detector, landmarks or alignment differ): {ENROL_ANEW}."
        )


def _embedded(gallery: Gallery, bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    embedded = [np.zeros((0, bundle.release.embedding_size), np.float32)]
    qualities = [np.zeros(0)]
    damaged = []
    method = f"{bundle.release.contract_id} quality {QUALITY_VERSION}"
    unfinished = UnfinishedWork(gallery.place, method)
    faces = iter(track(gallery.faces, "embed"))
    while block := list(islice(faces, BLOCK)):
        crops = []
        for face in block:
            try:
                crops.append(load_crop(gallery.storage.png, face.crop_id))
            except ValueError:
                damaged.append(f"{face.person} ({face.photo})")
        if not damaged:
            name = hashlib.sha256("".join(face.crop_id for face in block).encode()).hexdigest()
            kept = unfinished.load(name)
            if kept is None:
                kept = _embed(block, crops, bundle)
                unfinished.keep(name, **kept)
            embedded.append(kept["rows"])
            qualities.append(kept["quality"])
    if damaged:
        more = f" and {len(damaged) - MAX_NAMED} more" if len(damaged) > MAX_NAMED else ""
        raise FaceOpsError(
            f"{len(damaged)} of {len(gallery.faces)} crops in the gallery {gallery.storage} are "
            f"missing or damaged: {', '.join(damaged[:MAX_NAMED])}{more}. Nothing was changed; "
            f"`faceops gallery repair --gallery {gallery.storage}`, then enrol their photos again."
        )
    return np.concatenate(embedded), np.concatenate(qualities)


def _embed(
    faces: Sequence[GalleryFace], crops: Sequence[np.ndarray], bundle: Bundle
) -> dict[str, np.ndarray]:
    rows, lengths = bundle.embed(np.stack(crops))
    pairs = zip(faces, crops, strict=True)
    # The pose is unknown, and no part of the overall figure.
    measured = (measure(crop, 0.0, min(one.box[2:]), one.detector_score) for one, crop in pairs)
    before = np.array([one.overall for one in measured])
    return {"rows": rows, "quality": bundle.release.thresholds.quality_after(before, lengths)}
