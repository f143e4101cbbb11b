"""What a training run updates beside the weights, and the checkpoint that holds it at any step.

A checkpoint is one safetensors file, never a pickle: tensors, and the rest as JSON in its header.
One rename is atomic: a run that is killed while it writes leaves the previous checkpoint.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path, temporary_name
from faceops.config.sections import Train

Tensors = dict[str, torch.Tensor]
WARMUP_SHARE = 0.05  # of the steps, in which the learning rate rises


def build_optimiser(
    trained: torch.nn.Module, head: torch.nn.Module, settings: Train
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019); only matrices and kernels decay."""
    weights = [*trained.parameters(), *head.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        # No weight decay on biases, normalisation and slopes: it only does harm.
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused: a quarter of the time on a CPU, where it is a tenth of a step on small crops.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def build_schedule(optimiser: torch.optim.Optimizer, steps: int, step: int = 0) -> LambdaLR:
    """Return the learning rate schedule of a run of `steps`, at `step`, 0 .. steps - 1.

    The rate rises linearly over the first twentieth of the steps and falls by half a cosine to
    zero (Loshchilov & Hutter 2017).
    """
    warmup = max(1, round(WARMUP_SHARE * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group["lr"])  # required by a scheduler that starts later
    return LambdaLR(optimiser, factor, last_epoch=step - 1)


def build_average(module: torch.nn.Module, decay: float) -> AveragedModel | None:
    """Return the exponential moving average of weights and running statistics; decay 0: None.

    The decay rises with the updates n, min(decay, (1 + n) / (10 + n)), so that the random start
    is soon forgotten and short runs profit too (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).
    """
    if decay == 0:
        return None

    def update(
        average: torch.Tensor, value: torch.Tensor, count: torch.Tensor | int
    ) -> torch.Tensor:
        if not average.is_floating_point():
            return value  # counts of batches
        updates = int(count) - 1  # the start is counted too
        return average.lerp(value, 1 - min(decay, (1 + updates) / (10 + updates)))

    average = AveragedModel(module, avg_fn=update, use_buffers=True)
    average.update_parameters(module)  # the first update copies; the later ones average
    return average


def copy_weights(module: nn.Module) -> Tensors:
    """Return copies of all that `module` stores."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@contextmanager
def kept_weights(
    module: nn.Module, average: AveragedModel | None, start: Tensors, share: float
) -> Iterator[None]:
    """Use in `module`, within a `with`, what a run keeps: averaged weights, if there are any.

    They are interpolated, `share` of them the start's: what a start knew is then lost less than
    what it learned (Wortsman et al. 2022).
    """
    own = copy_weights(module)
    kept = own if average is None else average.module.state_dict()
    mixed = {n: v.lerp(start[n], share) if v.is_floating_point() else v for n, v in kept.items()}
    module.load_state_dict(mixed)
    try:
        yield
    finally:
        module.load_state_dict(own)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """Return an optimiser's moments and step counts, named "<number of the weight>.<what>"."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{what}": torch.as_tensor(value)
        for number, values in state.items()
        for what, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Give `optimiser` the state that `optimiser_tensors` returned."""
    whole = optimiser.state_dict()
    whole["state"] = defaultdict(dict)
    for name, value in tensors.items():
        number, what = name.split(".")
        whole["state"][int(number)][what] = value
    optimiser.load_state_dict(whole)


class MemoryBank(nn.Module):
    """The latest embedding of each training face, float32 (N, D) on one device.

    A step updates the faces that it embedded; the others get stale until the epoch ends.
    """

    embeddings: torch.Tensor
    fresh: torch.Tensor

    def __init__(self, faces: int, embedding_size: int, device: torch.device | str) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(faces, embedding_size, device=device))
        self.register_buffer("fresh", torch.zeros(faces, dtype=torch.bool, device=device))

    def stale(self) -> np.ndarray:
        """Return the positions, int64, that were not updated since `fresh` was last cleared."""
        return torch.nonzero(~self.fresh).flatten().cpu().numpy()

    @torch.no_grad()
    def update(self, positions: np.ndarray, embeddings: torch.Tensor) -> None:
        """Store the `embeddings`, (B, D), L2-normalised, of the faces at `positions`, int64 (B,).

        No position may occur twice: which of its embeddings is kept would depend on the device.
        """
        rows = torch.from_numpy(positions).to(self.embeddings.device)
        self.embeddings[rows] = embeddings.to(self.embeddings)
        self.fresh[rows] = True


FILE = "last.safetensors"
# Raise it with a change of the code below embedding/ after which a run would end with other
# weights; checkpoints of the version before are then left unused.
TRAINING_VERSION = 5


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
