"""Pictures for the page: of faces, of photos of the run, of enrolled faces; of nothing else."""

import io

from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.gallery.names import paths_shown_as
from faceops.gallery.store import Gallery
from faceops.identification.state.found_photo import THUMBNAIL_SIZE
from faceops.photos.open_photo import Photo, open_photo
from faceops.photos.pixels import image_of, part_of
from faceops.review.decided import DecidedAlbum
from faceops.review.results import Results

MAX_SIDE = 4096  # pixels, of a picture of a photo
AROUND = 1.6  # of a face's box, what a picture cut from its photo shows


def face_picture(results: Results, album: DecidedAlbum, row: int, size: int) -> bytes:
    """Return a square picture of a face: WebP or JPEG.

    Up to 96 pixels the one in the state, else one that is cut from the photo.

    Raises:
        FaceOpsError: it has none, and its photo cannot be opened.
    """
    photo = int(album.photo[row])
    photo_id = album.photos.photo_ids[photo] or ""
    face = photo_id, row - int(album.photos.starts[photo])
    is_found = album.photos.faces["detector_score"][row] > 0
    stored = results.store.thumbnails([face]) if is_found and size <= THUMBNAIL_SIZE else {}
    if face in stored:
        return stored[face]
    x, y, width, height = album.photos.faces["box"][row].tolist()
    side = AROUND * max(width, height)
    opened = _open(results, album, photo, round(size * max(album.photos.sizes[photo]) / side))
    scale_x, scale_y = opened.scale
    left, top = x + (width - side) / 2, y + (height - side) / 2
    edges = (left / scale_x, top / scale_y, (left + side) / scale_x, (top + side) / scale_y)
    part = part_of(opened.pixels, tuple(map(round, edges)))
    part.thumbnail((size, size))
    return _encoded(part, "WEBP")


def photo_picture(results: Results, album: DecidedAlbum, photo_id: str, side: int) -> bytes:
    """Return a photo of the run, upright, scaled to a longest side of `side` pixels, as JPEG.

    Raises:
        UsageError: the run has no such photo.
        FaceOpsError: it cannot be opened, or was changed since.
    """
    photo = album.photo_places.get(photo_id)
    if photo is None:
        raise UsageError("there is no such photo in this album; load the page again.")
    side = min(max(side, 16), MAX_SIDE)
    image = image_of(_open(results, album, photo, side).pixels)
    image.thumbnail((side, side))
    return _encoded(image, "JPEG")


def enrolled_picture(gallery: Gallery, crop_id: str) -> bytes:
    """Return the aligned crop of an enrolled face, as PNG.

    Raises:
        UsageError: no enrolled face has it.
    """
    if crop_id and gallery.faces.where("crop_id", [crop_id]).any():
        try:
            return gallery.storage.png(crop_id)
        except OSError:
            pass
    raise UsageError("this face is not in the gallery any more; load the page again.")


def _open(results: Results, album: DecidedAlbum, photo: int, least_side: int) -> Photo:
    """Open a photo whose bytes are those of the run; `least_side` pixels are enough."""
    photo_id, root = album.photos.photo_ids[photo] or "", results.run.root
    error: FaceOpsError | None = None
    for place in results.photos_of.get(photo_id, ()):
        for path in paths_shown_as(root, album.texts[place]):
            try:
                opened = open_photo(path, results.run.summary.limits, least_side=least_side)
            except FaceOpsError as failed:
                error = failed
                continue
            if opened.photo_id == photo_id:
                return opened
    raise error or FaceOpsError(
        f"{printable(album.texts[photo])} is gone or was changed; run faceops identify again."
    )


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind, quality=85)
    return buffer.getvalue()
