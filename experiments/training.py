"""What training experiments need: settings, aligned faces, a training run that resumes."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from faceops.base.errors import FaceOpsError, UsageError, first_line
from faceops.base.files import atomic_path, sha256_file, write_json
from faceops.base.work import track
from faceops.config.params_file import experiment_file, read_params
from faceops.config.sections import Params, Train
from faceops.dataset.manifest import ACCEPTED
from faceops.embedding.embedder import Embedder, embed_crops
from faceops.embedding.model_file import load_model, save_model, weights_sha256
from faceops.embedding.training.checkpoint import load_checkpoint, run_key
from faceops.embedding.training.dataset import FaceDataset
from faceops.embedding.training.inputs import TrainingInputs
from faceops.embedding.training.training_loop import Trainer
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.release.export import git_commit
from faceops.verification.split_faces import photo_sources

LFW = "lfw"  # the name of the source
ROOT = Path(__file__).parent.parent
BLOCK = 2048  # faces a file of embeddings; an interrupted run continues after the last one
FACTS = "fitted.json"


def read_settings(overlay: str, changes: Sequence[str], out: Path) -> Params:
    """Return the defaults, overridden by the file `overlay`, overridden by `changes`.

    Args:
        overlay: a name in experiments/, or the path of a YAML file.
        changes: texts `section.key=value`, the value as in YAML.
        out: folder; the merged overrides are written to `out`/params.yaml.

    Raises:
        UsageError: there is no such overlay or key, or a value is wrong.
    """
    content = yaml.safe_load(experiment_file(ROOT, overlay).read_text(encoding="utf-8")) or {}
    for change in changes:
        name, equals, value = change.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and key):
            raise UsageError(f"--set takes section.key=value, such as train.seed=8, not {change}.")
        content.setdefault(section, {})[key] = yaml.safe_load(value)
    out.mkdir(parents=True, exist_ok=True)
    (out / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_params(out / "params.yaml")


@dataclass(frozen=True)
class BuiltFaces:
    """The N aligned faces of a pipeline run.

    crops: uint8 (M, 112, 112, 3) RGB, memory-mapped; rows: int64 (N,), each face's row in it.
    persons, paths, splits, sources: text (N,); negative_only: bool (N,), see `split`.
    missing: paths of rejected photos.
    hashes: sha256 of the table of faces, and of the crops.
    """

    crops: np.ndarray
    rows: np.ndarray
    persons: np.ndarray
    paths: np.ndarray
    splits: np.ndarray
    sources: np.ndarray
    negative_only: np.ndarray
    missing: tuple[str, ...]
    hashes: tuple[str, ...]

    def labelled(self, split: str) -> FaceDataset:
        """Return the faces of `split` for the training loop."""
        part = self.splits == split
        return FaceDataset.of(
            self.crops, self.rows[part], self.persons[part].tolist(), self.negative_only[part]
        )

    def embedded(self, embeddings: np.ndarray) -> EmbeddedFaces:
        """Return all faces with their `embeddings`, float32 (N, D)."""
        return EmbeddedFaces(embeddings, self.persons, self.paths, missing=self.missing)

    def counts(self) -> str:
        """Return the numbers of people and photos of each split in words."""
        parts = {split: self.splits == split for split in ("train", "val", "test")}
        return "; ".join(
            f"{split} {len(np.unique(self.persons[part])):,} people, {part.sum():,} photos"
            for split, part in parts.items()
        )


def read_build(build: Path) -> BuiltFaces:
    """Read the outputs of the stages `validate`, `crop` and `split` below the folder `build`.

    Raises:
        FaceOpsError: a file is absent or unreadable.
    """
    crops_file, cropped_file = build / "crop/crops.npy", build / "crop/faces.parquet"
    split_file = build / "split/faces.parquet"
    try:
        crops = np.load(crops_file, mmap_mode="r", allow_pickle=False)
        cropped = pq.read_table(cropped_file, columns=["path", "status"]).to_pylist()
        table = pq.read_table(split_file).sort_by("path")
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = first_line(error)
        raise FaceOpsError(
            f"{build} cannot be read ({reason}); run `dvc repro split`, or name another --build."
        ) from None
    paths = np.array(table["path"].to_pylist(), dtype=str)
    return BuiltFaces(
        crops=crops,
        rows=table["crop"].to_numpy().astype(np.int64),
        persons=np.array(table["person"].to_pylist(), dtype=str),
        paths=paths,
        splits=np.array(table["split"].to_pylist(), dtype=str),
        sources=photo_sources(build / "validate/manifest.parquet", paths),
        negative_only=table["negative_only"].to_numpy(),
        missing=tuple(row["path"] for row in cropped if row["status"] != ACCEPTED),
        hashes=(sha256_file(split_file), sha256_file(crops_file)),
    )


def embed_faces(
    model: Embedder,
    faces: BuiltFaces,
    folder: Path,
    device: torch.device,
    mirrored: bool = False,
) -> np.ndarray:
    """Return the L2-normalised embeddings of all `faces`, float32 (N, D).

    With `mirrored` each is the mean of the crop's and of its mirror image's. They are cached in
    `folder`, keyed by the model's weights and the crops.
    """
    key = hashlib.sha256("".join((*faces.hashes, weights_sha256(model))).encode()).hexdigest()
    home = folder / f"embeddings-{key[:16]}{'-mirrored' * mirrored}"
    home.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in track(range(0, len(faces.rows), BLOCK), "embed blocks of faces"):
        file = home / f"{start}.npy"
        if not file.exists():
            crops = faces.crops[faces.rows[start : start + BLOCK]]
            block = embed_crops(model, crops, 64, device)
            if mirrored:
                block += embed_crops(model, crops[:, :, ::-1], 64, device)
                block /= np.linalg.norm(block, axis=1, keepdims=True)
            with atomic_path(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, block)
        parts.append(np.load(file))
    return np.concatenate(parts)


@dataclass(frozen=True)
class Fitted:
    """A trained model in evaluation mode.

    facts: best_epoch, epochs, stopped, seconds and history.
    """

    model: Embedder
    facts: dict[str, Any]


def fit(
    model: Embedder,
    inputs: Callable[[], TrainingInputs],
    digests: Sequence[str],
    settings: Train,
    folder: Path,
) -> Fitted:
    """Train `model`, or load the result of an earlier call with the same arguments.

    An interrupted run continues after its last checkpoint. The result's folder can be the
    `train.start` of another run.

    Args:
        model: the initial model.
        inputs: makes what a step feeds the network; called only if there is no result yet.
        digests: sha256 of everything that is learned from.
        folder: checkpoints and results go below it, keyed by settings and data.

    Raises:
        FaceOpsError: there are too few people, or the embedding collapsed.
    """
    home = folder / run_key(settings, *digests)
    facts_file = home / FACTS
    facts = json.loads(facts_file.read_text("utf-8")) if facts_file.exists() else None
    if facts is None or facts["stopped"] == "max_minutes":
        home.mkdir(parents=True, exist_ok=True)
        result = Trainer(model, inputs(), settings, home).fit()
        saved = load_checkpoint(home)
        assert saved is not None
        save_model(model, home, result.best_epoch)
        facts = {
            "best_epoch": result.best_epoch,
            "epochs": result.history[-1]["epoch"],
            "stopped": result.stopped,
            "seconds": saved[1]["seconds"],
            "history": result.history,
        }
        write_json(facts_file, facts)
    return Fitted(load_model(home), facts)


def run_facts(
    data: str, settings: Train, run: Mapping[str, Any], device: torch.device
) -> dict[str, str]:
    """Return what the figures of a run depend on: data, settings, training, machine, commit.

    Args:
        data: what the model has seen, in words.
        run: `Fitted.facts`.
    """
    values = ", ".join(f"{key} {value}" for key, value in settings.model_dump().items())
    facts = {"data": data, "settings": values}
    facts["training"] = (
        f"{run['epochs']} epochs ({run['stopped']}), best epoch {run['best_epoch']},"
        f" {run['seconds']:.0f} s"
    )
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
        names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
        machine = (names or [platform.processor()])[0]
    facts["machine"] = f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    facts["commit"] = git_commit(ROOT)
    return facts
