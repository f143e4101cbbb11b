"""One file that holds a run at any step: tensors, and the rest as JSON in its header.

A safetensors file, never a pickle. One file, because one rename is atomic: a run that is killed
while it writes leaves the checkpoint before.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path, temporary_name
from faceops.config.sections import Train

FILE = "last.safetensors"


def run_key(settings: Train, *data: str) -> str:
    """Return what names a run: a hash of its settings, its code, and the hashes of its `data`.

    The code is torch's version and this room's sources: a run that another code began would end
    with weights that neither gives. `max_minutes` and `checkpoint_minutes` are left out: a longer
    limit continues the same run.
    """
    known = settings.model_dump(exclude={"max_minutes", "checkpoint_minutes"})
    code = [torch.__version__, sources_sha256(Path(__file__).parent.parent)]
    text = json.dumps([code, known, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sources_sha256(folder: Path) -> str:
    """Return a sha256 over the names and contents of the Python files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def save_checkpoint(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    here = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_path(folder / FILE, sync=True) as temporary:
        save_file(here, temporary, metadata={"state": json.dumps(state)})


def load_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return the tensors (on the CPU) and the state in `folder`, or None.

    Raises:
        FaceOpsError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise FaceOpsError(
            f"the checkpoint {path} is damaged; delete it to start training afresh."
        ) from None


def delete_checkpoint(folder: Path) -> None:
    """Delete the checkpoint in `folder`, and the folder when nothing else is in it."""
    for path in (folder / FILE, temporary_name(folder / FILE)):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return `tensors` with "prefix." before each name."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return those of `tensors` that begin with "prefix.", without it."""
    start = prefix + "."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return an optimiser's moments and counts as flat tensors, named "parameter.what"."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{what}": torch.as_tensor(value)
        for number, values in state.items()
        for what, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Give `optimiser` the state that `optimiser_tensors` returned."""
    whole = optimiser.state_dict()
    whole["state"] = {}
    for name, value in tensors.items():
        number, what = name.split(".")
        whole["state"].setdefault(int(number), {})[what] = value
    optimiser.load_state_dict(whole)
