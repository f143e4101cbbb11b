"""The backbones by their names in params.yaml, the residual ones, and a trained one on disk.

On disk model.safetensors holds the weights, model.json describes them.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import read_json_object, sha256_file, write_file, write_json
from faceops.config.sections import Train
from faceops.embedding.backbones import mobilefacenet
from faceops.embedding.backbones.inception import build_facenet_nn2, build_inception_resnet_v1
from faceops.embedding.embedder import CROP_SIZE, Embedder, InputStage
from faceops.embedding.losses import MINERS, build_head


def build_residual(name: str, embedding_size: int, input_size: int, colour: str) -> Embedder:
    """Return an untrained ResNet (He et al. 2016) or ResNeXt (Xie et al. 2017) for small faces.

    The stem is a 3 x 3 convolution of stride 2 without max-pool, and the first stage halves once
    more: the work of the 224-pixel stem, without its blind 7 x 7 window. The neck is BN-linear-BN
    (ArcFace, Deng et al. 2019) on the flat map, `input_size` / 32 pixels a side, rounded up: a face
    is aligned, so where a feature lies means something, and pooling would throw it away.
    """
    from torchvision.models import get_model  # imports torch's compiler: two CPU seconds

    net: Any = get_model(name, num_classes=1)
    channels = net.fc.in_features
    stage = InputStage(input_size, colour)
    net.conv1 = nn.Conv2d(stage.channels, 64, kernel_size=3, stride=2, padding=1, bias=False)
    _halve(net.layer1[0])
    trunk = nn.Sequential(
        stage, net.conv1, net.bn1, net.relu, net.layer1, net.layer2, net.layer3, net.layer4
    )  # (B, 3, 112, 112) -> (B, channels, side, side)
    side = -(-input_size // 32)
    head = nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Linear(channels * side * side, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    return Embedder(name, embedding_size, trunk, head, input_size, colour)


def _halve(block: Any) -> None:
    """Give the first block of a stage stride 2, on its 3 x 3 convolution and on its shortcut."""
    if block.downsample is None:  # a basic block
        block.conv1.stride = (2, 2)
        block.downsample = nn.Sequential(
            nn.Conv2d(64, 64, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(64)
        )
    else:  # a bottleneck
        block.conv2.stride = (2, 2)
        block.downsample[0].stride = (2, 2)


def _pretrained(embedding_size: int, input_size: int, colour: str) -> Embedder:
    if (embedding_size, input_size, colour) != (mobilefacenet.EMBEDDING_SIZE, CROP_SIZE, "rgb"):
        raise FaceOpsError(
            "train.backbone = pretrained is SFace, which needs train.embedding_size = "
            f"{mobilefacenet.EMBEDDING_SIZE}, train.input_size = {CROP_SIZE}, train.colour = rgb,"
            f" not {embedding_size}, {input_size} and {colour}; set these, or choose"
            " another train.backbone."
        )
    return mobilefacenet.build_sface()


# (embedding_size, input_size, colour) -> an untrained network
Builder = Callable[[int, int, str], Embedder]

BACKBONES: dict[str, Builder] = {
    "pretrained": _pretrained,
    "facenet_nn2": build_facenet_nn2,
    "inception_resnet_v1": build_inception_resnet_v1,
    "mobilefacenet": mobilefacenet.build_mobilefacenet,
    "resnet18": partial(build_residual, "resnet18"),
    "resnet50": partial(build_residual, "resnet50"),
    "resnext50_32x4d": partial(build_residual, "resnext50_32x4d"),
}


def build_backbone(
    name: str, embedding_size: int, input_size: int = CROP_SIZE, colour: str = "rgb"
) -> Embedder:
    """Return the untrained network `name`, its weights drawn from torch's global generator.

    Every network takes float32 (B, 3, 112, 112) RGB, 0 to 255, resizes it to `input_size` pixels,
    rgb or grey, and returns float32 (B, embedding_size) of length 1. "pretrained" is SFace's
    architecture, whose weights load_sface reads.

    Raises FaceOpsError: the name is unknown, or the network does not support the size or the
    colour.
    """
    if name not in BACKBONES:
        raise FaceOpsError(
            f"train.backbone = {name!r} is unknown; set it to one of {', '.join(BACKBONES)}."
        )
    return BACKBONES[name](embedding_size, input_size, colour)


def check_train_params(train: Train, path: Path) -> None:
    """Refuse names missing in the registries and shapes the chosen backbone does not support.

    Builds the backbone without memory for its weights (torch's meta device), and a small head.

    Raises UsageError: names the file `path`, the key, its value and the valid ones.
    """
    miners = (*MINERS, "global")  # which mines over the training set, the others within a batch
    for name in train.miners:
        if name not in miners:
            raise UsageError(
                f"{path}: train.miners: there is no miner {name!r}; use {', '.join(miners)}."
            )
    if train.warmup_loss == "distillation" and train.backbone == "pretrained" and train.freeze:
        raise UsageError(
            f"{path}: train.warmup_loss = distillation needs train.freeze false: it augments crops,"
            " not cached features; train.frozen_units saves time too."
        )
    distils, share = train.warmup_loss == "distillation", train.start_share
    if (distils or share > 0) and train.backbone != "pretrained" and not train.start:
        key = "warmup_loss = distillation" if distils else f"start_share = {share:g}"
        raise UsageError(
            f"{path}: train.{key} needs a start that was trained: set train.start, or"
            " train.backbone to pretrained."
        )
    try:
        with torch.device("meta"):
            network = build_backbone(
                train.backbone, train.embedding_size, train.input_size, train.colour
            )
        with torch.random.fork_rng(devices=()):  # on meta it would import torch's compiler
            build_head(train.head, train.embedding_size, 2, train.head_scale, train.head_margin)
    except FaceOpsError as error:
        raise UsageError(f"{path}: {error}") from None
    units = len(list(network.trunk.children()))
    if train.frozen_units > units:
        raise UsageError(
            f"{path}: train.frozen_units = {train.frozen_units}, but {train.backbone} has {units}; "
            "set it to so many at most."
        )


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

    Raises FaceOpsError: a file is missing or damaged, or the two do not belong together.
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


def start_model(settings: Train, sface: Path | None) -> Embedder:
    """Return SFace from the file `sface`, or an untrained network drawn from `settings.seed`.

    With `settings.start` it is the trained model in that folder.

    Raises FaceOpsError: there is none, or it is of another architecture than the settings say.
    """
    if settings.start:
        model = load_model(Path(settings.start))
        names = ("backbone", "embedding_size", "input_size", "colour")
        for name in names:
            if (own := getattr(model, name)) != getattr(settings, name):
                raise FaceOpsError(
                    f"the model in train.start = {settings.start} has {name} {own}, not "
                    f"{getattr(settings, name)}; set train.{name} to {own}, or start from another."
                )
        return model
    if settings.backbone == "pretrained":
        assert sface is not None
        return mobilefacenet.load_sface(sface)
    torch.manual_seed(settings.seed)
    return build_backbone(
        settings.backbone, settings.embedding_size, settings.input_size, settings.colour
    )


def weights_sha256(network: nn.Module) -> str:
    """Return a sha256 over the names and values of all that `network` stores."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
