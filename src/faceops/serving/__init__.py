"""Posted photos in; faces, names or embeddings out, by the code that names people in folders."""

import base64
import binascii
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError, ShortageError, UsageError
from faceops.base.reasons import Reason
from faceops.faces.find_faces import find_in_photo
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import Gallery
from faceops.identification.engine.decide import FaceDecisions, NamedBlock, NamingRule, name_faces
from faceops.identification.engine.ranking import AlbumSearch
from faceops.identification.inputs import MAX_DETAIL
from faceops.identification.records.records import RunOrigin, records_of
from faceops.identification.state.photo_block import Extraction, FoundPhoto, PhotoBlock
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import PhotoError, check_length
from faceops.release import served_interface as interface
from faceops.release.bundle import Bundle

NAME = Path("the posted file")  # in messages: a posted photo has no path
_WHITESPACE = b" \t\r\n"  # tools break base64 into lines


@dataclass(frozen=True)
class RequestParams:
    """The parameters of a request."""

    answer: str  # one of `ANSWERS`
    budget: float | None  # false positive identification rate; None: the release's default
    detail: int  # see `FaceFinder`

    @classmethod
    def of(cls, params: Mapping[str, Any] | None) -> "RequestParams":
        """Return `params`, completed with `DEFAULTS`. Raises UsageError: a value is wrong."""
        given = {**interface.DEFAULTS, **(params or {})}
        answer, budget, detail = given["answer"], given["budget"], given["detail"]
        if answer not in interface.ANSWERS:
            known = f"{', '.join(interface.ANSWERS[:-1])} or {interface.ANSWERS[-1]}"
            raise UsageError(f"the parameter answer is {answer!r}; ask for {known}.")
        if budget != 0 and not 0 < budget < 1:
            raise UsageError(
                f"the parameter budget is {budget:g}; give a share of strangers between 0 and 1, "
                "or 0 for the release's default."
            )
        if not 0 <= detail <= MAX_DETAIL:
            raise UsageError(
                f"the parameter detail is {detail}; give pixels from 0 to {MAX_DETAIL}."
            )
        return cls(answer, float(budget) or None, int(detail))


def posted_bytes(value: object, row: int, limits: PhotoLimits) -> bytes:
    """Return the bytes that the base64 text `value` in row `row`, counted from 0, encodes.

    The number of bytes follows from the text's length: too many are not decoded.

    Raises UsageError: it is not base64 text; PhotoError: there are no bytes, or more than `limits`
    allow.
    """
    where = f"row {row} of the column {interface.IMAGE} (the first is 0)"
    if not isinstance(value, str):
        raise UsageError(f"{where} is not text; send the base64 of a photo's file.")
    try:
        digits = value.encode("ascii").translate(None, _WHITESPACE)
        length = -(-len(digits) // 4) * 3 - digits[-2:].count(b"=")
        check_length(NAME, length, limits.max_bytes)
        return base64.b64decode(digits, validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise UsageError(
            f"{where} is not base64; send that of a photo's file, without a `data:` prefix."
        ) from None


# Smaller than of a folder's photos: several requests are in memory at once.
LIMITS = PhotoLimits(max_pixels=100_000_000, max_bytes=50_000_000)


class PhotoService:
    """Answers requests; may be shared by threads. Nothing of a photo is written or kept.

    `gallery`: the enrolled people; without it nobody can be named.

    Raises FaceOpsError: the release was trained on crops that were not aligned by landmarks.
    """

    def __init__(
        self, bundle: Bundle, gallery: GalleryPlace | None = None, limits: PhotoLimits = LIMITS
    ) -> None:
        self._bundle, self._place, self._limits = bundle, gallery, limits
        self._finder = bundle.face_finder(interface.DEFAULTS["detail"])
        self._gallery: Gallery | None = None  # as it was read last
        self._reading = threading.Lock()
        self._search: tuple[Gallery, AlbumSearch] | None = None  # of the latest gallery

    def gallery(self) -> Gallery:
        """Return the enrolled people; changes of the gallery apply from the next request.

        Raises UsageError: the service has no gallery; FaceOpsError: its folder has none, it is
        damaged, or has another contract id.
        """
        if self._place is None:
            raise UsageError(
                "nobody can be named: this server was started without a gallery; set "
                "FACEOPS_GALLERY to the folder of one and start it again."
            )
        with self._reading:
            try:
                if self._gallery is None:
                    contract_id = self._bundle.release.contract_id
                    self._gallery = Gallery.open(self._place, contract_id)
                else:
                    self._gallery = self._gallery.as_saved()
            except UsageError as error:
                raise FaceOpsError(str(error)) from None  # the request is not wrong
            return self._gallery

    def answer(self, images: Sequence[object], params: RequestParams) -> list[dict[str, Any]]:
        """Return a row for each of `images`, base64 text; see `served_interface.signature`.

        The row of a photo that cannot be used has a reason; other rows are not affected.

        Raises UsageError: a row is not base64 text, there is no gallery for names, or the release
        does not support the budget; FaceOpsError: the gallery cannot be used, or memory or the like
        is short.
        """
        gallery, rule = None, None
        if params.answer == interface.NAMES:
            gallery = self.gallery()
            rule = self._naming_rule(gallery, params.budget)
        contents: list[bytes | PhotoError] = []
        for row, image in enumerate(images):
            try:
                contents.append(posted_bytes(image, row, self._limits))
            except PhotoError as error:
                contents.append(error)
        return [self._answer_one(content, params, gallery, rule) for content in contents]

    def _naming_rule(self, gallery: Gallery, budget: float | None) -> NamingRule:
        """Return the rule for single photos: no album can be measured on one."""
        thresholds = self._bundle.release.thresholds
        budget = budget or thresholds.default_budget
        rule = NamingRule.for_gallery(thresholds, gallery, budget)
        if thresholds.normalisation is None or not gallery.faces:
            return rule
        known, search = self._search or (None, None)
        if search is None or known is not gallery:
            search = AlbumSearch.of_no_album(thresholds.normalisation, gallery)
            self._search = gallery, search
        found = search.threshold(thresholds, budget)
        return rule.in_album(search, found, thresholds.default_budget)

    def _answer_one(
        self,
        content: bytes | PhotoError,
        params: RequestParams,
        gallery: Gallery | None,
        rule: NamingRule | None,
    ) -> dict[str, Any]:
        answer: dict[str, Any] = dict.fromkeys(
            ("photo_id", "width", "height", "reason", "message", "threshold")
        )
        answer |= {"faces": [], "contract_id": self._bundle.release.contract_id}
        try:
            if isinstance(content, PhotoError):
                raise content
            finder = self._finder.at_detail(params.detail)
            found = find_in_photo(NAME, finder, self._limits, content)
        except PhotoError as error:
            if isinstance(error, ShortageError):
                raise
            if isinstance(content, bytes):
                answer["photo_id"] = hashlib.sha256(content).hexdigest()
            return answer | {"reason": str(error.reason), "message": str(error)}
        embeddings = None
        if params.answer != interface.FACES and found.faces:
            faces, embeddings = self._bundle.embed_faces(found.faces)
            found = replace(found, faces=faces)
        photo = FoundPhoto.of(found, embeddings)
        block = PhotoBlock.of([Extraction(str(NAME), None, photo)], photo.embeddings.shape[1])
        decisions, people = FaceDecisions.without_names(len(block.faces)), list[str]()
        if gallery is not None and rule is not None:
            decisions = name_faces(block, gallery, self._bundle.verify, rule)
            people = gallery.people
            answer["threshold"] = rule.threshold
        answer["photo_id"] = photo.photo_id
        answer["width"], answer["height"] = photo.size
        if not len(photo.faces):
            return answer | {"reason": str(Reason.NO_FACE)}
        names = tuple(interface.NAME_COLUMNS) if params.answer == interface.NAMES else ()
        columns = interface.FACE_COLUMNS + names
        named = NamedBlock(block, [""], decisions, people)
        records = records_of(RunOrigin("", "", answer["contract_id"]), named)
        rows = zip(found.faces, photo.embeddings, records, strict=True)
        for details, embedding, record in rows:
            row = {key: record[key] for key in columns}
            points = details.detection.landmarks
            row["landmarks"] = [[round(float(v), 2) for v in point] for point in points]
            if params.answer == interface.EMBEDDINGS:
                # The shortest digits that give the float32 back.
                row["embedding"] = [float(str(value)) for value in embedding]
            answer["faces"].append(row)
        return answer
