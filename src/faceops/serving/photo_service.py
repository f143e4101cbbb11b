"""Photos in, faces, names or embeddings out, by the code that names people in folders."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.base.reasons import Reason
from faceops.faces.find_in_photo import PhotoFaces, find_in_bytes
from faceops.gallery.face_policy import IDENTIFICATION
from faceops.gallery.store import Gallery
from faceops.identification.engine import Rule, name_group
from faceops.identification.found_photo import NOT_EMBEDDED, FoundFace, FoundPhoto
from faceops.photos.photo_error import PhotoError
from faceops.photos.photo_limits import PhotoLimits
from faceops.release.bundle import Bundle
from faceops.release.served_interface import DEFAULTS, EMBEDDINGS, FACES, NAMES
from faceops.serving.answer import photo_answer, refused_answer
from faceops.serving.asked import Asked
from faceops.serving.current_gallery import CurrentGallery
from faceops.serving.posted_image import NAME, posted_bytes


class PhotoService:
    """Answers requests; may be shared by threads. Nothing of a photo is written or kept.

    Args:
        bundle: the release.
        gallery: the folder of the enrolled people; without it nobody can be named.

    Raises:
        FaceOpsError: the release was trained on crops that were not aligned by landmarks.
    """

    def __init__(
        self,
        bundle: Bundle,
        gallery: Path | None = None,
        limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
    ) -> None:
        self._bundle = bundle
        self._finder = bundle.face_finder(DEFAULTS["detail"])
        contract_id = bundle.release.contract_id
        self._gallery = CurrentGallery(gallery, contract_id) if gallery else None
        self._limits = limits

    def gallery(self) -> Gallery:
        """Return the enrolled people.

        Raises:
            UsageError: the service has no gallery.
            FaceOpsError: there is none in its folder, it is damaged, or of another contract.
        """
        if self._gallery is None:
            raise UsageError(
                "nobody can be named: this server was started without a gallery; set "
                "FACEOPS_GALLERY to the folder of one and start it again."
            )
        return self._gallery.get()

    def answer(self, images: Sequence[object], asked: Asked) -> list[dict[str, Any]]:
        """Return a row for each of `images`, base64 text; see `serving.answer`.

        A photo that cannot be used has a reason in its row and takes nothing from the others.

        Raises:
            UsageError: a row is no base64 text, nobody can be named here, or the release cannot
                keep the budget.
            FaceOpsError: the gallery cannot be used.
        """
        naming = self._naming(asked.budget) if asked.answer == NAMES else None
        contents = [self._content(image, row) for row, image in enumerate(images)]
        return [self._answer_one(content, asked, naming) for content in contents]

    def _content(self, image: object, row: int) -> bytes | PhotoError:
        try:
            return posted_bytes(image, row, self._limits)
        except PhotoError as error:
            return error

    def _answer_one(
        self, content: bytes | PhotoError, asked: Asked, naming: "_Naming | None"
    ) -> dict[str, Any]:
        contract_id = self._bundle.release.contract_id
        try:
            if isinstance(content, PhotoError):
                raise content
            finder = self._finder.at_detail(asked.detail)
            found = find_in_bytes(content, NAME, finder, self._limits)
        except PhotoError as error:
            photo_id = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else None
            return refused_answer(error, photo_id, contract_id)
        photo = self._found_photo(found, embed=asked.answer != FACES)
        decisions, threshold = None, None
        if naming is not None:
            (decisions,) = name_group([photo], naming.gallery, self._bundle, naming.rule)
            threshold = naming.rule.threshold
        return photo_answer(
            found,
            photo,
            contract_id,
            decisions=decisions,
            threshold=threshold,
            embeddings=asked.answer == EMBEDDINGS,
        )

    def _naming(self, budget: float | None) -> "_Naming":
        gallery, thresholds = self.gallery(), self._bundle.release.thresholds
        threshold = 1.0  # nobody is enrolled: nobody is named
        if gallery.faces:
            threshold = thresholds.for_search(
                budget or thresholds.default_budget, len(gallery.faces)
            )
        return _Naming(gallery, Rule(threshold, thresholds.runner_up_margin, IDENTIFICATION))

    def _found_photo(self, found: PhotoFaces, *, embed: bool) -> FoundPhoto:
        rows = [NOT_EMBEDDED] * len(found.faces)
        if embed and rows:
            rows = list(self._bundle.embed(np.stack([face.crop for face in found.faces])))
        faces = tuple(
            FoundFace(
                face.detection.box, face.detection.score, face.quality.overall, row, thumbnail=b""
            )
            for face, row in zip(found.faces, rows, strict=True)
        )
        return FoundPhoto(
            found.photo.photo_id,
            None if faces else Reason.NO_FACE,
            faces,
            found.photo.size,
            found.photo.orientation,
        )


@dataclass(frozen=True)
class _Naming:
    """Whom a face may be, and what a name takes."""

    gallery: Gallery
    rule: Rule
