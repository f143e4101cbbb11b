"""Photos in, faces, names or embeddings out, by the code that names people in folders."""

import base64
import binascii
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.reasons import DecisionKind, Reason
from faceops.faces.find_faces import PhotoFaces, find_in_bytes
from faceops.gallery.store import Gallery
from faceops.identification.engine.decide import Decision, NamingRule, name_faces
from faceops.identification.records.records import RunOrigin, records_of
from faceops.identification.state.found_photo import FoundPhoto
from faceops.photos.open_photo import PhotoError, PhotoLimits, check_length
from faceops.release.bundle import Bundle
from faceops.release.served_interface import ANSWERS, DEFAULTS, EMBEDDINGS, FACES, IMAGE, NAMES

_PLACE = ("x", "y", "width", "height", "detector_score", "quality")
_NAME = (
    *("decision", "person", "probability", "distance"),
    *("runner_up", "runner_up_probability", "reason"),
)
_NOT_ASKED = Decision(DecisionKind.UNKNOWN)


def refused_answer(error: PhotoError, photo_id: str | None, contract_id: str) -> dict[str, Any]:
    """Return the row of a photo that cannot be used: a reason code and one sentence."""
    return _row(contract_id, photo_id=photo_id, reason=str(error.reason), message=str(error))


def photo_answer(
    found: PhotoFaces,
    photo: FoundPhoto,
    contract_id: str,
    *,
    decisions: Sequence[Decision] | None = None,
    threshold: float | None = None,
    embeddings: bool = False,
) -> dict[str, Any]:
    """Return the row of a photo that was looked at, best detector score first.

    Args:
        found, photo: the same faces, with landmarks and with embeddings.
        decisions: for each face, when names were asked for.
        threshold: smallest probability for a name.
        embeddings: whether they were asked for; float32 values, in as few digits as tell them.
    """
    decided = list(decisions or (_NOT_ASKED for _ in photo.faces))
    records = records_of(RunOrigin("", "", contract_id), "", photo, decided) if photo.faces else []
    faces = []
    for face, details, record in zip(photo.faces, found.faces, records, strict=True):
        row = {key: record[key] for key in _PLACE}
        row["landmarks"] = [[round(float(v), 2) for v in p] for p in details.detection.landmarks]
        if decisions is not None:
            row |= {key: record[key] for key in _NAME}
        if embeddings:
            row["embedding"] = [float(str(value)) for value in face.embedding]
        faces.append(row)
    width, height = photo.size
    return _row(
        contract_id,
        photo_id=photo.photo_id,
        width=width,
        height=height,
        faces=faces,
        reason=None if faces else str(Reason.NO_FACE),
        threshold=threshold,
    )


def _row(contract_id: str, **known: Any) -> dict[str, Any]:
    about = dict.fromkeys(("photo_id", "width", "height", "reason", "message"))
    return {**about, "faces": [], "threshold": None, "contract_id": contract_id, **known}


MOST_DETAIL = 20_000  # pixels


@dataclass(frozen=True)
class RequestParams:
    """The parameters of a request.

    Attributes:
        answer: one of `ANSWERS`.
        budget: share of strangers that may be given a name; None: the release's default.
        detail: see `FaceFinder`.
    """

    answer: str
    budget: float | None
    detail: int

    @classmethod
    def of(cls, params: Mapping[str, Any] | None) -> "RequestParams":
        """Return what `params` ask for; what they leave out is as `DEFAULTS` has it.

        Raises:
            UsageError: a value is wrong.
        """
        given = {**DEFAULTS, **(params or {})}
        answer, budget, detail = given["answer"], given["budget"], given["detail"]
        if answer not in ANSWERS:
            raise UsageError(f"the parameter answer is {answer!r}; ask for {_or(ANSWERS)}.")
        if budget != 0 and not 0 < budget < 1:
            raise UsageError(
                f"the parameter budget is {budget:g}; give a share of strangers between 0 and 1, "
                "or 0 for the release's default."
            )
        if not 0 <= detail <= MOST_DETAIL:
            raise UsageError(
                f"the parameter detail is {detail}; give pixels from 0 to {MOST_DETAIL}."
            )
        return cls(answer, float(budget) or None, int(detail))


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


class CurrentGallery:
    """The gallery in `folder`; read again when its files were replaced. For several threads.

    So who is enrolled is named from the next request on, and who was forgotten no more.
    """

    def __init__(self, folder: Path, contract_id: str) -> None:
        self._folder = folder
        self._contract_id = contract_id
        self._read: Gallery | None = None
        self._lock = threading.Lock()

    def get(self) -> Gallery:
        """Return the gallery.

        Raises:
            FaceOpsError: there is none, it is damaged, or it is of another contract.
        """
        with self._lock:
            try:
                if self._read is None:
                    self._read = Gallery.open(self._folder, self._contract_id)
                else:
                    self._read = self._read.as_saved()
            except UsageError as error:
                raise FaceOpsError(str(error)) from None  # not the fault of who sent the request
            return self._read


NAME = Path("the posted file")  # what sentences call it: it has no file
_SPACE = b" \t\r\n"  # tools break base64 into lines


def posted_bytes(value: object, row: int, limits: PhotoLimits) -> bytes:
    """Return the bytes that the base64 text `value` in row `row`, counted from 0, stands for.

    How many they are is told from the text's length: too many are not decoded.

    Raises:
        UsageError: it is no base64 text.
        PhotoError: there are no bytes, or more than `limits` allow.
    """
    if not isinstance(value, str):
        raise UsageError(
            f"row {row} of the column {IMAGE} (the first is 0) is no text; send the base64 of a "
            "photo's file."
        )
    try:
        digits = value.encode("ascii").translate(None, _SPACE)
        length = -(-len(digits) // 4) * 3 - digits[-2:].count(b"=")
        check_length(NAME, length, limits.max_bytes)
        return base64.b64decode(digits, validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise UsageError(
            f"row {row} of the column {IMAGE} (the first is 0) is not base64; send that of a "
            "photo's file, without a `data:` in front."
        ) from None


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

    def answer(self, images: Sequence[object], asked: RequestParams) -> list[dict[str, Any]]:
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
        self, content: bytes | PhotoError, asked: RequestParams, naming: "_Naming | None"
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
            (decisions,) = name_faces([photo], naming.gallery, self._bundle, naming.rule)
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
        budget = budget or thresholds.default_budget
        return _Naming(gallery, NamingRule.for_gallery(thresholds, gallery, budget))

    def _found_photo(self, found: PhotoFaces, *, embed: bool) -> FoundPhoto:
        embeddings = None
        if embed and found.faces:
            embeddings = list(self._bundle.embed(np.stack([face.crop for face in found.faces])))
        return FoundPhoto.of(found, embeddings, thumbnails=False)


@dataclass(frozen=True)
class _Naming:
    """Whom a face may be, and what a name takes."""

    gallery: Gallery
    rule: NamingRule
