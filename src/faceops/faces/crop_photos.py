"""Crop the faces of a whole manifest into one array and its index."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path
from faceops.base.parallel import ordered_map
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face, FaceFinder, find_in_photo
from faceops.faces.landmarks import square_crop
from faceops.faces.quality import Quality, measure
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo

Policy = Literal["largest", "most_central", "skip"]


def choose_face(
    faces: Sequence[Face], width: int, height: int, policy: Policy, min_face: float
) -> Face | None:
    """Return the face that `policy` chooses, or None where it cannot.

    Faces smaller than `min_face` are people in the background: they are not looked at. Of faces
    that are equally good the one with the better detector score is taken.

    Args:
        faces: of one photo, best score first.
        width: of the photo in pixels.
        height: of the photo in pixels.
        policy: `largest` box, `most_central` box, or `skip` photos that have several faces.
        min_face: smallest side of a box in pixels.
    """
    large = [face for face in faces if face.detection.size >= min_face]
    if not large or (policy == "skip" and len(large) > 1):
        return None
    if policy == "most_central":
        return min(large, key=lambda face: _off_centre(face, width, height))
    return max(large, key=lambda face: face.detection.box[2] * face.detection.box[3])


def _off_centre(face: Face, width: int, height: int) -> float:
    x, y, w, h = face.detection.box
    return (x + w / 2 - width / 2) ** 2 + (y + h / 2 - height / 2) ** 2


def box_crop(
    pixels: np.ndarray, box: tuple[float, float, float, float], margin: float, size: int = 112
) -> np.ndarray:
    """Return the square around `box` as uint8 (size, size, 3); black outside the photo.

    Args:
        pixels: uint8 (H, W, 3) RGB, upright.
        box: x, y, width, height in pixels.
        margin: added on each side, as a share of the box's longer side.
        size: side of the crop in pixels.
    """
    x, y, width, height = box
    side = max(width, height) * (1 + 2 * margin)
    return square_crop(pixels, x + (width - side) / 2, y + (height - side) / 2, side, size)


def center_crop(pixels: np.ndarray, ratio: float, size: int = 112) -> np.ndarray:
    """Return the middle of the photo as uint8 (size, size, 3), for photos cropped by others.

    Args:
        pixels: uint8 (H, W, 3) RGB, upright.
        ratio: side of the square as a share of the photo's shorter side, above 0, at most 1.
        size: side of the crop in pixels.
    """
    left, top, side = center_square(pixels.shape[1], pixels.shape[0], ratio)
    return square_crop(pixels, left, top, side, size)


def center_square(width: int, height: int, ratio: float) -> tuple[float, float, float]:
    """Return left, top and side in pixels of the square in the middle of a photo."""
    side = max(1.0, ratio * min(width, height))
    return (width - side) / 2, (height - side) / 2, side


@dataclass(frozen=True)
class CropSettings:
    """How photos become crops; the fields are those of params.yaml's section `crop`."""

    mode: Literal["aligned", "box", "center"] = "aligned"
    several_faces: Policy = "most_central"
    min_face: float = 24
    min_quality: float = 0.0
    box_margin: float = 0.2
    center_ratio: float = 0.5
    limits: PhotoLimits = field(default_factory=PhotoLimits)


@dataclass(frozen=True, eq=False)
class CroppedPhoto:
    """What became of one photo.

    Attributes:
        crop: uint8 (112, 112, 3) RGB; None when rejected.
        box: x, y, width, height of the face (mode center: of the square); None without one.
        detection: of the chosen face; None without one, and in mode center.
        quality: of the chosen face.
        reason: None when accepted.
    """

    crop: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None
    detection: Detection | None = None
    quality: Quality | None = None
    reason: Reason | None = None


def crop_photo(path: Path, finder: FaceFinder, settings: CropSettings) -> CroppedPhoto:
    """Return the face of the person whose photo `path` is; never raises for a bad photo."""
    try:
        if settings.mode == "center":
            return _center(open_photo(path, settings.limits).pixels, settings)
        found = find_in_photo(path, finder, settings.limits)
    except PhotoError as error:
        return CroppedPhoto(reason=error.reason)
    faces, (width, height) = found.faces, found.photo.size
    face = choose_face(faces, width, height, settings.several_faces, settings.min_face)
    if face is None:
        return CroppedPhoto(reason=_why_none(faces, settings.min_face))
    crop = face.crop
    if settings.mode == "box":
        pixels = open_photo(path, settings.limits).pixels  # all of them, whatever the finder took
        crop = box_crop(pixels, face.detection.box, settings.box_margin)
    return _judged(
        CroppedPhoto(crop, face.detection.box, face.detection, face.quality), settings.min_quality
    )


def _center(pixels: np.ndarray, settings: CropSettings) -> CroppedPhoto:
    crop = center_crop(pixels, settings.center_ratio)
    left, top, side = center_square(pixels.shape[1], pixels.shape[0], settings.center_ratio)
    # Nothing is known of the pose: whoever cropped these photos has seen to it.
    quality = measure(crop, pose=0.0, size_px=side)
    return _judged(CroppedPhoto(crop, (left, top, side, side), None, quality), settings.min_quality)


def _judged(cropped: CroppedPhoto, min_quality: float) -> CroppedPhoto:
    assert cropped.quality is not None
    if cropped.quality.overall >= min_quality:
        return cropped
    return CroppedPhoto(None, cropped.box, cropped.detection, cropped.quality, Reason.LOW_QUALITY)


def _why_none(faces: list[Face], min_face: float) -> Reason:
    if not faces:
        return Reason.NO_FACE
    if all(face.detection.size < min_face for face in faces):
        return Reason.FACE_TOO_SMALL
    return Reason.SEVERAL_FACES


_SHAPE = (112, 112, 3)


class CropsFile:
    """A `.npy` of uint8 (N, 112, 112, 3), written row by row; `np.load(path, mmap_mode="r")`.

    Used as a context: the file gets its name when the context ends well, and leaves nothing
    behind when it ends in an error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def __enter__(self) -> "CropsFile":
        with ExitStack() as opening:
            temporary = opening.enter_context(atomic_path(self._path))
            self._file = opening.enter_context(temporary.open("wb"))
            self._header()
            self._start = self._file.tell()
            self._opened = opening.pop_all()
        return self

    def append(self, crop: np.ndarray) -> int:
        """Write `crop`, uint8 (112, 112, 3), and return its row."""
        if crop.shape != _SHAPE or crop.dtype != np.uint8:
            raise ValueError(f"a crop must be uint8 {_SHAPE}, not {crop.dtype} {crop.shape}")
        self._file.write(crop.tobytes())
        self.count += 1
        return self.count - 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._file.seek(0)
            self._header()  # now with the count; NumPy pads headers so that the first axis may grow
            assert self._file.tell() == self._start
        self._opened.__exit__(kind, error, trace)

    def _header(self) -> None:
        form = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *_SHAPE)}
        np.lib.format.write_array_header_1_0(self._file, form)


SCHEMA = pa.schema(
    [
        ("crop", pa.int32()),  # row in crops.npy, -1 when rejected
        ("photo_id", pa.string()),
        ("path", pa.string()),
        ("person", pa.string()),
        ("x", pa.float32()),  # box in pixels of the upright photo; null without a face
        ("y", pa.float32()),
        ("width", pa.float32()),
        ("height", pa.float32()),
        ("detector_score", pa.float32()),
        ("landmarks", pa.list_(pa.float32())),  # x, y of the five, 10 values
        ("sharpness", pa.float32()),
        ("brightness", pa.float32()),
        ("contrast", pa.float32()),
        ("pose", pa.float32()),
        ("quality", pa.float32()),  # the overall figure
        ("status", pa.string()),  # accepted or rejected
        ("reason", pa.string()),  # a Reason, "" when accepted
    ]
)


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
