"""One file that holds a training run at any step: tensors, and the rest as JSON in its header.

A safetensors file, never a pickle. One file, because one rename is atomic: a run that is killed
while it writes leaves the previous checkpoint.
"""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path, temporary_name
from faceops.config.sections import Train

FILE = "last.safetensors"
# Raise it with a change of the code below embedding/ after which a run would end with other
# weights; checkpoints of the version before are then left unused.
TRAINING_VERSION = 4

Tensors = dict[str, torch.Tensor]


def run_key(settings: Train, *data: str) -> str:
    """Return the identifier of a run: a hash of everything that changes its result.

    These are the settings, the digests of its `data`, torch's version and TRAINING_VERSION.
    `max_minutes` and `checkpoint_minutes` are left out: a longer limit continues the same run.
    """
    chosen = settings.model_dump(exclude={"max_minutes", "checkpoint_minutes"})
    text = json.dumps([TRAINING_VERSION, torch.__version__, chosen, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_checkpoint(folder: Path, tensors: dict[str, Tensors], state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder` by groups of named tensors and a `state` for JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = {
        f"{group}.{name}": value.detach().cpu().contiguous()
        for group, values in tensors.items()
        for name, value in values.items()
    }
    with atomic_path(folder / FILE, sync=True) as temporary:
        save_file(flat, temporary, metadata={"state": json.dumps(state)})


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensors], dict[str, Any]] | None:
    """Return the groups of tensors (on the CPU) and the state in `folder`, or None.

    Raises:
        FaceOpsError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    tensors: dict[str, Tensors] = defaultdict(dict)
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                group, _, name = key.partition(".")
                tensors[group][name] = file.get_tensor(key)
            return tensors, json.loads(file.metadata()["state"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise FaceOpsError(
            f"the checkpoint {path} is damaged; delete it to start training again."
        ) from None


def delete_checkpoint(folder: Path) -> None:
    """Delete the checkpoint in `folder`, and the folder if it is then empty."""
    for path in (folder / FILE, temporary_name(folder / FILE)):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
