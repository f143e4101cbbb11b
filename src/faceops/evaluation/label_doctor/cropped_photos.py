"""The photos that the crop stage kept, with their labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError

_COLUMNS = ["crop", "path", "person"]


@dataclass(frozen=True)
class CroppedPhotos:
    """`crops` uint8 (N, 112, 112, 3) RGB, mapped, not read; `persons`, `paths` str (N,)."""

    crops: np.ndarray
    persons: np.ndarray
    paths: np.ndarray


def read_cropped_photos(folder: Path) -> CroppedPhotos:
    """Return the faces in the output folder of the crop stage.

    Raises:
        FaceOpsError: it is not there, unreadable, empty, or its two files do not fit.
    """
    crops_file, faces_file = folder / "crops.npy", folder / "faces.parquet"
    for file in (crops_file, faces_file):
        if not file.is_file():
            raise FaceOpsError(
                f"{file} does not exist; run `dvc repro crop`, or name the crop stage's folder "
                "by --crops."
            )
    try:
        table = pq.read_table(faces_file, columns=_COLUMNS).sort_by("crop")
        crops = np.load(crops_file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(f"{folder} cannot be read ({reason}); run `dvc repro crop`.") from None
    row = table["crop"].to_numpy()
    kept = table.slice(int((row < 0).sum()))  # -1: rejected
    if not np.array_equal(kept["crop"].to_numpy(), np.arange(len(crops))):
        raise FaceOpsError(f"{faces_file} does not fit {crops_file}; run `dvc repro crop`.")
    if not len(kept):
        raise FaceOpsError(f"{folder} holds no faces; see build/validate/quarantine.csv.")
    persons = np.array(kept["person"].to_pylist(), dtype=str)
    return CroppedPhotos(crops, persons, np.array(kept["path"].to_pylist(), dtype=str))
