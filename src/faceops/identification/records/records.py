"""The identification record: one row a face, or one row for a photo that has none."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.identification.engine.decide import Decision, Outcome
from faceops.identification.state.face_store import PhotoIds
from faceops.identification.state.found_photo import FoundFace, FoundPhoto


class Record(NamedTuple):
    """One row; the order of the fields is the order of the columns in every format.

    Boxes are in pixels of the upright photo. `distance` is Euclidean between unit embeddings,
    0 to 2. `probability` and `distance` are those of the most probable person even when no name
    was given; `runner_up` is the person after it. Probabilities are whole float32 values, in text
    with all the digits that tell them apart: near 1 these decide. None where
    there is nothing to say.
    """

    run_id: str
    photo_id: str | None
    photo_path: str
    face_index: int | None
    x: float | None
    y: float | None
    width: float | None
    height: float | None
    detector_score: float | None
    quality: float | None
    decision: str
    person: str | None
    probability: float | None
    distance: float | None
    runner_up: str | None
    runner_up_probability: float | None
    reason: str | None
    release: str
    contract_id: str


_TYPES = {
    "face_index": pa.int32(),
    **dict.fromkeys(("x", "y", "width", "height", "detector_score", "quality"), pa.float64()),
    "distance": pa.float64(),
    **dict.fromkeys(("probability", "runner_up_probability"), pa.float32()),
}
_ROWS_AT_ONCE = 8192
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in Record._fields])


def records_of(
    run_id: str,
    photo_path: str,
    photo: FoundPhoto,
    decisions: list[Decision],
    release: str,
    contract_id: str,
) -> list[Record]:
    """Return the rows of one photo; a photo without faces has one, with its reason."""
    if not photo.faces:
        reason = str(photo.reason) if photo.reason else None
        empty: dict[str, Any] = dict.fromkeys(Record._fields)
        row = empty | {
            "run_id": run_id,
            "photo_id": photo.photo_id,
            "photo_path": photo_path,
            "decision": str(Outcome.REJECTED),
            "reason": reason,
            "release": release,
            "contract_id": contract_id,
        }
        return [Record(**row)]
    return [
        _record(run_id, photo.photo_id, photo_path, index, face, decision, release, contract_id)
        for index, (face, decision) in enumerate(zip(photo.faces, decisions, strict=True))
    ]


def photos_of(records: Path) -> PhotoIds:
    """Return the photo_ids in a run's Parquet file; none if it is not there or damaged."""
    try:
        with pq.ParquetFile(records) as file:
            return PhotoIds(
                photo_id
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["photo_id"])
                for photo_id in batch["photo_id"].to_pylist()
                if photo_id is not None
            )
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return PhotoIds()


def _record(
    run_id: str,
    photo_id: str | None,
    photo_path: str,
    index: int,
    face: FoundFace,
    decision: Decision,
    release: str,
    contract_id: str,
) -> Record:
    x, y, width, height = face.box
    best, other = decision.best, decision.runner_up
    return Record(
        run_id,
        photo_id,
        photo_path,
        index,
        round(x, 2),
        round(y, 2),
        round(width, 2),
        round(height, 2),
        round(face.detector_score, 4),
        round(face.quality, 4),
        str(decision.outcome),
        decision.person,
        _float32(best.probability) if best else None,
        round(best.distance, 5) if best else None,
        other.person if other else None,
        _float32(other.probability) if other else None,
        str(decision.reason) if decision.reason else None,
        release,
        contract_id,
    )


def _float32(value: float) -> float:
    """Return the float that prints as the shortest text that is `value` in float32."""
    return float(str(np.float32(value)))
