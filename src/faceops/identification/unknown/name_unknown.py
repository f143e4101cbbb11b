"""Name an unknown person of the latest run: a decision about each of their faces."""

import contextlib
import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.dataset.names import given_name, person_key
from faceops.faces.detector import Box
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import TRUSTED, Action, Entry, new_batch, new_id
from faceops.gallery.similarity import Agreement
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.gallery.store import Gallery
from faceops.identification.latest_run import latest_run
from faceops.identification.records.output_folder import STATE_FILE, UNKNOWN_FILE
from faceops.identification.run import identify
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.schema import method_of
from faceops.identification.summary import Summary
from faceops.identification.unknown.groups import BOX
from faceops.identification.unknown.unknown_people import unknown_name, unknown_number
from faceops.release.bundle import Bundle


@dataclass
class Naming:
    """What naming did."""

    unknown: str
    person: str
    faces: int  # of the unknown person, which have the name now
    enrolled: int  # of the person's faces, how many entered the gallery
    summary: Summary  # of the run that followed


def name_unknown(
    unknown: str,
    name: str,
    gallery_dir: GalleryPlace,
    bundle: Bundle,
    out: Path,
    threads: int | None,
    trust: bool = False,
) -> Naming:
    """Confirm that the person `unknown` of the latest run into `out` is `name`; identify again.

    The decisions are written first. The run that follows, with the settings of the latest one,
    names the faces and takes the good ones into the gallery. Called again after an interruption, it
    continues.

    `trust`: also where the faces are unlike those that are enrolled for `name`.

    Raises:
        UsageError: `unknown` or `name` is not a valid name; there is no gallery.
        FaceOpsError: the latest run has no person with that number; the faces are unlike those of
            `name`; the gallery is of another contract or cannot be written.
    """
    unknown = unknown_name(unknown_number(unknown))
    name = given_name(name)
    latest = latest_run(out)
    gallery = Gallery.open(gallery_dir, bundle.release.contract_id)
    faces = _faces_of(unknown, out, bundle, latest.summary.detail)
    decisions = Decisions.load(gallery_dir)
    enrolled = {person_key(person): person for person in gallery.people}
    name = gallery.aliases.get(person_key(name), name)
    name = enrolled.get(person_key(name), name)
    person, entries = decisions.naming(name)
    name = decisions.name(person) or name
    about = Entry(Action.CONFIRM, person=person, detail=TRUSTED if trust else "")
    new = []
    for photo_id, box, size, embedding in faces:
        place = decisions.match(photo_id, [box])[0]
        if place is None or place.person != person:
            entries.append(replace(about, photo_id=photo_id, box=box, size=size, id=new_id()))
            new.append(embedding)
    known = [embedding for embedding in new if embedding is not None]
    if known and not trust:
        contradiction = Agreement(gallery, bundle).contradiction(
            name, np.stack(known), f"faces of {unknown}"
        )
        if contradiction:
            raise FaceOpsError(
                f"{contradiction}; give another name, or --trust if they show {name} all the same."
            )
    if new:
        batch = new_batch()
        storage_of(gallery_dir).journal().append(replace(entry, batch=batch) for entry in entries)

    gallery_now = gallery.as_saved()
    summary = identify(latest.photos, gallery_now, bundle, out, latest.settings(threads))
    now = Gallery.open(gallery_dir).count_of(name)
    return Naming(unknown, name, len(faces), now - gallery.count_of(name), summary)


def _faces_of(
    unknown: str, out: Path, bundle: Bundle, detail: int
) -> list[tuple[str, Box, tuple[int, int], np.ndarray | None]]:
    """Return photo_id, box, photo size ((0, 0) if unknown) and embedding (D,) of each face."""
    boxes: dict[tuple[str, int], Box] = {}
    try:
        with (out / UNKNOWN_FILE).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["unknown"] == unknown:
                    x, y, width, height = (float(row[name]) for name in BOX)
                    boxes[row["photo_id"], int(row["face_index"])] = x, y, width, height
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out / UNKNOWN_FILE} cannot be used ({error}); run faceops identify into {out} again."
        ) from None
    if not boxes:
        raise FaceOpsError(
            f"there is no {unknown} in the latest results in {out}; {UNKNOWN_FILE} and the report "
            "list who is there."
        )
    method = method_of(bundle.release, detail)
    with contextlib.closing(FaceStore(out / STATE_FILE, method)) as store:
        photos = store.known(sorted({photo_id for photo_id, _ in boxes}))
    faces = []
    for (photo_id, index), box in sorted(boxes.items()):
        photo = photos.get(photo_id)
        has_embedding = photo is not None and index < len(photo.embeddings)
        embedding = photo.embeddings[index] if photo and has_embedding else None
        faces.append((photo_id, box, photo.size if photo else (0, 0), embedding))
    return faces
