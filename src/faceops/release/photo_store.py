"""Crops and embeddings of photos, kept by content: a run that was killed goes on from there.

A folder holds, for one way of finding faces,

    photos.jsonl              a line a photo that was looked at: its sha256, reason or row
    crops.u8                  uint8 (rows, 112, 112, 3), as they came
    embeddings-<model>.f32    float32 (rows, D); a row of another length than 1 is not done yet

so the same photos in another folder, or under another model, are not searched again.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.locks import folder_lock
from faceops.base.progress import track

_SHAPE = (112, 112, 3)
_CROP = 112 * 112 * 3
_BLOCK = 64


class PhotoStore:
    """The store in `folder`, made when absent; a context, held by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos: dict[str, dict[str, Any]] = {}
        self.rows = 0

    def __enter__(self) -> "PhotoStore":
        with ExitStack() as opening:
            opening.enter_context(folder_lock(self.folder))
            lines, crops = self.folder / "photos.jsonl", self.folder / "crops.u8"
            self._lines = opening.enter_context(lines.open("a+", encoding="utf-8"))
            self._crops = opening.enter_context(crops.open("ab"))
            self._read()
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def add(self, photo_id: str, crop: np.ndarray | None, reason: str) -> None:
        """Keep what became of a photo: its `crop`, uint8 (112, 112, 3), or why there is none."""
        row = -1
        if crop is not None:
            row = self.rows
            self._crops.write(np.ascontiguousarray(crop).tobytes())
            self._crops.flush()  # before the line that speaks of it
            self.rows += 1
        self.photos[photo_id] = {"photo_id": photo_id, "row": row, "reason": reason}
        self._lines.write(json.dumps(self.photos[photo_id]) + "\n")
        self._lines.flush()

    def crops(self) -> np.ndarray:
        """Return all crops, uint8 (rows, 112, 112, 3), mapped and not read."""
        if not self.rows:
            return np.zeros((0, *_SHAPE), np.uint8)
        shape = (self.rows, *_SHAPE)
        return np.memmap(self.folder / "crops.u8", np.uint8, "r", shape=shape)

    def embeddings(
        self,
        rows: np.ndarray,
        identity: str,
        size: int,
        embed: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Return the embeddings float32 (len(rows), `size`) of `rows`, embedding what is missing.

        `identity` names the model in the file's name.
        """
        if not len(rows):
            return np.zeros((0, size), np.float32)
        path = self.folder / f"embeddings-{identity[:16]}.f32"
        with path.open("ab") as file:
            file.truncate(4 * size * self.rows)  # grows by zeros, which take no room
        kept = np.memmap(path, np.dtype("<f4"), "r+", shape=(self.rows, size))
        length = np.linalg.norm(kept[rows], axis=1)
        todo = np.unique(rows[~(np.abs(length - 1) < 1e-3)])
        crops = self.crops()
        for start in track(range(0, len(todo), _BLOCK), "embedding blocks of faces"):
            block = todo[start : start + _BLOCK]
            kept[block] = embed(np.asarray(crops[block]))
        kept.flush()
        return np.asarray(kept[rows], np.float32)

    def _read(self) -> None:
        """Read the lines; what a kill cut short is dropped and will be done again."""
        self._lines.seek(0)
        good = 0
        for line in iter(self._lines.readline, ""):
            try:
                photo = json.loads(line)
                self.photos[photo["photo_id"]] = photo
                self.rows = max(self.rows, photo["row"] + 1)
            except (ValueError, KeyError, TypeError):
                break
            good = self._lines.tell()
        self._lines.truncate(good)
        whole = self._crops.tell() // _CROP
        if whole < self.rows:  # the disk lost what it had promised
            self.photos = {i: photo for i, photo in self.photos.items() if photo["row"] < whole}
            self.rows = whole
            self._lines.truncate(0)
            self._lines.writelines(json.dumps(photo) + "\n" for photo in self.photos.values())
        self._crops.truncate(self.rows * _CROP)
