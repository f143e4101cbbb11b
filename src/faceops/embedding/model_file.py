"""An embedder on disk: model.safetensors holds the weights, model.json describes them."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, sha256_file, write_file, write_json
from faceops.embedding.backbones.build import BACKBONES, build_backbone
from faceops.embedding.embedder import CROP_SIZE, Embedder

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


def save_model(model: Embedder, folder: Path, epochs: int = 0) -> None:
    """Write `model` to `folder`; the same weights give the same bytes.

    `epochs`: how many epochs of training are in the weights; 0 for the start.
    """
    weights = save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})
    description = {
        "backbone": model.backbone,
        "embedding_size": model.embedding_size,
        "input_size": model.input_size,
        "colour": model.colour,
        "epochs": epochs,
        "input": "float32 (B, 3, 112, 112) RGB 0..255",
        "output": "float32 (B, embedding_size), L2-normalised",
        "parameters": sum(value.numel() for value in model.parameters()),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_file(folder / WEIGHTS, weights)
    write_json(folder / DESCRIPTION, description)


def trained_epochs(folder: Path) -> int:
    """Return the number of epochs that the model in `folder` was trained for."""
    try:
        return int(read_json_object(folder / DESCRIPTION)["epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        raise FaceOpsError(
            f"{folder / DESCRIPTION} is absent or damaged; run the train stage again."
        ) from None


def load_model(folder: Path) -> Embedder:
    """Return the embedder that `save_model` wrote to `folder`, on the CPU, in evaluation mode.

    Raises:
        FaceOpsError: a file is missing or damaged, or the two do not belong together.
    """
    again = "run the train stage again"
    try:
        description = read_json_object(folder / DESCRIPTION)
        backbone, digest = description["backbone"], description["weights_sha256"]
        size = int(description["embedding_size"])
        # Absent from models that were stored before these were parameters.
        input_size = int(description.get("input_size", CROP_SIZE))
        colour = description.get("colour", "rgb")
        found = sha256_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise FaceOpsError(f"{error.filename} does not exist; {again}.") from None
    except (ValueError, KeyError, TypeError):
        raise FaceOpsError(f"{folder / DESCRIPTION} is damaged; {again}.") from None
    if found != digest:
        raise FaceOpsError(f"{folder / WEIGHTS} is not what {DESCRIPTION} describes; {again}.")
    if backbone not in BACKBONES:
        raise FaceOpsError(
            f"{folder / DESCRIPTION} names no known backbone: {backbone!r}; {again}."
        )
    try:
        model = build_backbone(backbone, size, input_size, colour)
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (FaceOpsError, SafetensorError, RuntimeError):
        raise FaceOpsError(f"{folder / WEIGHTS} does not fit a {backbone}; {again}.") from None
    return model.eval()


def weights_sha256(network: nn.Module) -> str:
    """Return a sha256 over the names and values of all that `network` stores."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
