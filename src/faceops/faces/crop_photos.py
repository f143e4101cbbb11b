"""Crop the faces of a whole manifest into one array and its index."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path
from faceops.base.progress import track
from faceops.faces.crop_photo import CroppedPhoto, CropSettings, crop_photo
from faceops.faces.crops_file import CropsFile
from faceops.faces.faces_table import SCHEMA
from faceops.faces.find_faces import FaceFinder
from faceops.faces.ordered_map import ordered_map


@dataclass(frozen=True)
class CropCounts:
    """How many photos were kept and rejected, the latter also by reason."""

    accepted: int
    rejected: int
    reasons: dict[str, int]


def crop_photos(
    manifest: pa.Table,
    data_root: Path,
    out: Path,
    finder: FaceFinder,
    settings: CropSettings,
    workers: int = 1,
) -> CropCounts:
    """Write `out`/crops.npy and `out`/faces.parquet: a row for every photo of the manifest.

    Rows are sorted by path; accepted ones are numbered in this order. The bytes do not depend on
    the number of workers. Both files get their names only when all is done.

    Args:
        manifest: columns photo_id, path (POSIX, relative to `data_root`), person, status, reason.
        data_root: the folder that the manifest's paths start from.
        out: folder for the results, made when absent.
        finder: shared by the workers.
        settings: see there.
        workers: threads.

    Raises:
        FaceOpsError: not one face was found.
    """
    out.mkdir(parents=True, exist_ok=True)
    photos = manifest.select(["photo_id", "path", "person", "status", "reason"]).to_pylist()
    photos.sort(key=lambda photo: photo["path"])

    def work(photo: dict[str, Any]) -> CroppedPhoto | None:
        if photo["status"] != "accepted":
            return None  # rejected before; its reason is carried over
        return crop_photo(data_root / photo["path"], finder, settings)

    rows: list[dict[str, Any]] = []
    with CropsFile(out / "crops.npy") as crops:
        done: Iterator[CroppedPhoto | None] = ordered_map(work, photos, workers)
        for photo, cropped in zip(photos, track(done, "crop", len(photos)), strict=True):
            number = -1
            if cropped is not None and cropped.crop is not None:
                number = crops.append(cropped.crop)
            rows.append(_row(photo, cropped, number))
        counts = _counts(rows)
        if not counts.accepted:
            raise FaceOpsError(_nothing_found(counts, settings))
    with atomic_path(out / "faces.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    return counts


def _row(photo: dict[str, Any], cropped: CroppedPhoto | None, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "crop": number,
        "photo_id": photo["photo_id"],
        "path": photo["path"],
        "person": photo["person"],
        "status": "accepted" if number >= 0 else "rejected",
        "reason": "",
    }
    if cropped is None:
        return {**row, "reason": photo["reason"] or "rejected"}
    if cropped.reason is not None:
        row["reason"] = cropped.reason.value
    if cropped.box is not None:
        row.update(zip(("x", "y", "width", "height"), cropped.box, strict=True))
    if cropped.detection is not None:
        row["detector_score"] = cropped.detection.score
        row["landmarks"] = cropped.detection.landmarks.ravel().tolist()
    if cropped.quality is not None:
        quality = cropped.quality
        row.update(sharpness=quality.sharpness, brightness=quality.brightness)
        row.update(contrast=quality.contrast, pose=quality.pose, quality=quality.overall)
    return row


def _counts(rows: list[dict[str, Any]]) -> CropCounts:
    reasons: dict[str, int] = {}
    for row in rows:
        if row["crop"] < 0:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    rejected = sum(reasons.values())
    return CropCounts(len(rows) - rejected, rejected, dict(sorted(reasons.items())))


def _nothing_found(counts: CropCounts, settings: CropSettings) -> str:
    if not counts.rejected:
        return "the manifest lists no photo to crop; import photos and validate them first."
    why = ", ".join(f"{count} {reason}" for reason, count in counts.reasons.items())
    advice = "lower crop.min_face, crop.min_quality or crop.detector_threshold"
    if settings.mode != "center":
        advice += ", or set crop.mode to center for photos that are faces already"
    return f"no photo of {counts.rejected} gave a face ({why}); {advice}."
