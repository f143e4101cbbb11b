"""Features of a frozen trunk, computed once and kept in a memory-mapped file."""

import copy
import hashlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from faceops.base.files import write_file
from faceops.base.locks import file_lock
from faceops.base.progress import track
from faceops.embedding.backbones.mobilefacenet import ConvUnit
from faceops.embedding.embedder import Embedder, pixels_of
from faceops.embedding.model_file import weights_sha256
from faceops.embedding.training.samplers import LabelledCrops


def faces_and_code(faces: LabelledCrops, modules: Iterable[str]) -> str:
    """Return a sha256 over the crops of `faces` in their order and the files of `modules`."""
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update(Path(str(sys.modules[module].__file__)).read_bytes())
    for row in faces.rows:
        digest.update(faces.crops[row].tobytes())
    return digest.hexdigest()


SAVED_EVERY_S = 20


class RowsSoFar:
    """A memory-mapped float16 array in the making, beside it the count of its first good rows.

    Without a count that fits it is begun anew: never is a row taken for good that was not flushed
    before it was counted.

    Attributes:
        rows: float16 of `shape`, to be filled in order.
        done: how many a killed run has filled.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Open what a killed run left for `path` of that `shape`, or begin it."""
        self._path = path
        self._making, self._counted = path.with_suffix(".tmp"), path.with_suffix(".count")
        self.done = self._good(shape)
        if not self.done:
            self._counted.unlink(missing_ok=True)  # it is of rows that are not there
        mode = "r+" if self.done else "w+"
        self.rows = np.lib.format.open_memmap(self._making, mode, np.float16, shape)
        self._saved_at = time.monotonic()

    def _good(self, shape: tuple[int, ...]) -> int:
        """Return how many rows are good; a count that another file or a full disk left is none."""
        try:
            count = self._counted.read_text("ascii")
            begun = np.load(self._making, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError):
            return 0
        fits = begun.shape == shape and begun.dtype == np.float16 and count.isdecimal()
        return int(count) if fits and int(count) <= len(begun) else 0

    def reached(self, done: int) -> None:
        """Take note, now and then, that the first `done` rows are filled."""
        if time.monotonic() - self._saved_at > SAVED_EVERY_S:
            self.rows.flush()
            write_file(self._counted, str(min(done, len(self.rows))))
            self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Give the file its name: all rows are filled."""
        self.rows.flush()
        self._making.replace(self._path)
        self._counted.unlink(missing_ok=True)


BATCH = 32


def features_key(model: Embedder, faces: LabelledCrops, flip: bool) -> str:
    """Return a sha256 over crops, the trunk's weights and code, and whether mirrors are kept."""
    of_trunk = {type(part).__module__ for part in model.trunk.modules()}
    modules = {name for name in of_trunk if name.startswith("faceops.")}
    seen = faces_and_code(faces, modules | {__name__, pixels_of.__module__})
    return hashlib.sha256(f"{flip} {seen} {weights_sha256(model.trunk)}".encode()).hexdigest()


def cached_features(
    model: Embedder, faces: LabelledCrops, flip: bool, folder: Path, name: str, device: torch.device
) -> np.ndarray:
    """Return the trunk's features of `faces`, float16 (N, views, ...), memory-mapped.

    View 0 is the face as it is; with `flip` view 1 is its mirror image. Other changes of pixels
    (shift, brightness) cannot be applied to features: training on them uses mirroring alone.
    Half precision halves the file and moves an embedding by less than 1e-3. What a killed run has
    computed is kept, but for about its last twenty seconds.

    Args:
        folder: where `features-<name>-<key>.npy` is looked for and written; files of the same
            name with another key are stale and are deleted.
    """
    path = folder / f"features-{name}-{features_key(model, faces, flip)[:16]}.npy"
    for other in folder.glob(f"features-{name}-*"):
        if other.stem != path.stem:
            other.unlink()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"the features of {name} in {folder} are being computed"
        with file_lock(folder / f".features-{name}.lock", busy):
            _compute(model, faces, flip, path, device)
    features: np.ndarray = np.load(path, mmap_mode="r")
    return features


@torch.inference_mode()
def _compute(
    model: Embedder, faces: LabelledCrops, flip: bool, path: Path, device: torch.device
) -> None:
    trunk = _fused(model.trunk).to(device).to(memory_format=torch.channels_last)
    views = 2 if flip else 1
    one = trunk(torch.zeros(1, 3, 112, 112, device=device))
    kept = RowsSoFar(path, (len(faces.rows), views, *one.shape[1:]))
    what = "features of the frozen layers"
    if kept.done:
        print(f"{what}: {kept.done} of {len(faces.rows)} are there", file=sys.stderr, flush=True)
    for start in track(range(kept.done, len(faces.rows), BATCH), what):
        pixels = pixels_of(faces.crops[faces.rows[start : start + BATCH]], device)
        for view in range(views):
            seen = pixels.flip(3) if view else pixels
            kept.rows[start : start + BATCH, view] = trunk(seen).half().cpu().numpy()
        kept.reached(start + BATCH)
    kept.finish()


def _fused(trunk: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a frozen `trunk` with each normalisation inside its convolution.

    The same function to 1e-5, a third faster on a CPU.
    """
    trunk = copy.deepcopy(trunk).eval()
    for part in trunk.modules():
        if isinstance(part, ConvUnit):
            part.fuse()
    return trunk
