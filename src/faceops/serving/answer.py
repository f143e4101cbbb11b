"""The rows that a request gets: figures are those of the identification record, under its names."""

from collections.abc import Sequence
from typing import Any

from faceops.base.reasons import Reason
from faceops.faces.find_in_photo import PhotoFaces
from faceops.identification.decide import Decision
from faceops.identification.found_photo import FoundPhoto
from faceops.identification.outcome import Outcome
from faceops.identification.records import records_of
from faceops.photos.photo_error import PhotoError

_PLACE = ("x", "y", "width", "height", "detector_score", "quality")
_NAME = (
    *("decision", "person", "probability", "distance"),
    *("runner_up", "runner_up_probability", "reason"),
)
_NOT_ASKED = Decision(Outcome.UNKNOWN)


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
    records = records_of("", "", photo, decided, "", contract_id) if photo.faces else []
    faces = []
    for face, details, record in zip(photo.faces, found.faces, records, strict=True):
        values = record._asdict()
        row = {key: values[key] for key in _PLACE}
        row["landmarks"] = [[round(float(v), 2) for v in p] for p in details.detection.landmarks]
        if decisions is not None:
            row |= {key: values[key] for key in _NAME}
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
