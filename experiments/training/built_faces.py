"""The aligned faces that a pipeline has built, and who is in which split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.dataset.manifest import ACCEPTED
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.evaluation.embedded_faces import EmbeddedFaces

CROPS, CROPPED, SPLIT = "crop/crops.npy", "crop/faces.parquet", "split/faces.parquet"


@dataclass(frozen=True)
class BuiltFaces:
    """One row a face, N together.

    crops: uint8 (M, 112, 112, 3) RGB, memory-mapped; `rows` int64 (N,) are the faces' in it.
    persons, paths, splits: text (N,); negative_only: bool (N,), the person has one photo.
    missing: paths of photos that were set aside: no usable face, or no trust in their label.
    hashes: sha256 of the table and of the crops.
    """

    crops: np.ndarray
    rows: np.ndarray
    persons: np.ndarray
    paths: np.ndarray
    splits: np.ndarray
    negative_only: np.ndarray
    missing: tuple[str, ...]
    hashes: tuple[str, str]

    def labelled(self, split: str) -> LabelledCrops:
        """Return the faces of `split` as training takes them."""
        part = self.splits == split
        return LabelledCrops.of(
            self.crops, self.rows[part], self.persons[part].tolist(), self.negative_only[part]
        )

    def embedded(self, embeddings: np.ndarray) -> EmbeddedFaces:
        """Return all faces with their `embeddings`, float32 (N, D)."""
        return EmbeddedFaces(embeddings, self.persons, self.paths, missing=self.missing)

    def seen(self) -> str:
        """Return in words who trains, validates and tests."""
        counts = []
        for split in ("train", "val", "test"):
            part = self.splits == split
            people = len(np.unique(self.persons[part]))
            counts.append(f"{split} {people:,} people, {int(part.sum()):,} photos")
        return "; ".join(counts)


def read_build(build: Path) -> BuiltFaces:
    """Read what the stages `crop` and `split` left in the folder `build`.

    Raises:
        FaceOpsError: a file is absent or unreadable.
    """
    files = [build / name for name in (CROPS, CROPPED, SPLIT)]
    for file in files:
        if not file.is_file():
            raise FaceOpsError(
                f"{file} does not exist; run `dvc repro split` there, or name another --build."
            )
    try:
        crops = np.load(files[0], mmap_mode="r", allow_pickle=False)
        cropped = pq.read_table(files[1], columns=["path", "status"]).to_pylist()
        table = pq.read_table(files[2]).sort_by("path")
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(f"{build} cannot be read ({reason}); run `dvc repro split`.") from None
    return BuiltFaces(
        crops=crops,
        rows=table["crop"].to_numpy().astype(np.int64),
        persons=np.array(table["person"].to_pylist(), dtype=str),
        paths=np.array(table["path"].to_pylist(), dtype=str),
        splits=np.array(table["split"].to_pylist(), dtype=str),
        negative_only=table["negative_only"].to_numpy(),
        missing=tuple(row["path"] for row in cropped if row["status"] != ACCEPTED),
        hashes=(sha256_file(files[2]), sha256_file(files[0])),
    )
