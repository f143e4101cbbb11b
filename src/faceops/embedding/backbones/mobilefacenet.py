"""MobileFaceNet (Chen et al. 2018), and SFace (Zhong et al. 2021), the pretrained start.

SFace's architecture is written out here and its weights are copied from the ONNX file by name: a
trained model is loaded without that file, its PReLU slopes can be trained, and it exports like any
other torch module. A test compares it with the file in ONNX Runtime.
"""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from faceops.base.errors import FaceOpsError
from faceops.embedding.embedder import ClippedHighlights, Embedder, InputStage, conv_unit

# Table 1's bottlenecks: expansion, output channels, repeats, stride of the first.
_BOTTLENECKS = (*((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)),)
_FEATURES = 512


def build_mobilefacenet(embedding_size: int, input_size: int, colour: str) -> Embedder:
    """Return an untrained MobileFaceNet, its weights drawn from torch's global generator.

    Instead of an average of the last map, `input_size` / 16 pixels a side, rounded up, it takes a
    weighted sum, a weight per place and channel (global depthwise convolution): the middle of a
    face matters more than its border.
    """
    stage = InputStage(input_size, colour)
    units: list[nn.Module] = [
        stage,
        conv_unit(stage.channels, 64, 3, stride=2, padding=1, prelu=True),
        conv_unit(64, 64, 3, padding=1, groups=64, prelu=True),
    ]
    channels = 64
    for expansion, outputs, repeats, stride in _BOTTLENECKS:
        for number in range(repeats):
            units.append(
                Bottleneck(channels, outputs, channels * expansion, stride if number == 0 else 1)
            )
            channels = outputs
    units.append(conv_unit(channels, _FEATURES, 1, prelu=True))
    side = -(-input_size // 16)
    head = nn.Sequential(
        nn.Conv2d(_FEATURES, _FEATURES, side, groups=_FEATURES, bias=False),
        nn.BatchNorm2d(_FEATURES),
        nn.Flatten(),
        nn.Linear(_FEATURES, embedding_size, bias=False),
        nn.BatchNorm1d(embedding_size),
    )
    return Embedder(
        "mobilefacenet", embedding_size, nn.Sequential(*units), head, input_size, colour
    )


class Bottleneck(nn.Module):
    """Inverted residual (MobileNetV2, Sandler et al. 2018): wide depthwise between narrow ends."""

    def __init__(self, inputs: int, outputs: int, wide: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            conv_unit(inputs, wide, 1, prelu=True),
            conv_unit(wide, wide, 3, stride, padding=1, groups=wide, prelu=True),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        mapped: torch.Tensor = self.layers(features)
        return features + mapped if self.adds else mapped


EMBEDDING_SIZE = 128
# Depthwise-separable blocks 2 to 14: output channels and stride (MobileNet, Howard et al. 2017).
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
_CONV_EPSILON, _BN_EPSILON = 1e-3, 2e-5


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, PReLU; depthwise when `groups` is the channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.batchnorm: nn.Module = nn.BatchNorm2d(outputs, eps=_CONV_EPSILON)
        self.relu = nn.PReLU(outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.relu(self.batchnorm(self.conv2d(features)))

    def fuse(self) -> None:
        """Put the normalisation into the convolution, for use without training."""
        if isinstance(self.batchnorm, nn.BatchNorm2d):
            self.conv2d = fuse_conv_bn_eval(self.conv2d, self.batchnorm)
            self.batchnorm = nn.Identity()


def build_sface() -> Embedder:
    """Return SFace's architecture; its weights are random until they are loaded.

    The trunk ends after the depthwise half of block 13, at (B, 512, 7, 7): the features are then
    small, and the head holds 8 of the 9.6 million weights.
    """
    units: list[tuple[str, nn.Module]] = [
        ("scale", nn.Sequential(ClippedHighlights(), InputStage())),
        ("conv_1", ConvUnit(3, 32, 3, 1, 1)),
    ]
    channels = 32
    for number, (outputs, stride) in enumerate(_BLOCKS, start=2):
        units.append((f"conv_{number}_dw", ConvUnit(channels, channels, 3, stride, channels)))
        units.append((f"conv_{number}", ConvUnit(channels, outputs, 1, 1, 1)))
        channels = outputs
    border = [name for name, _ in units].index("conv_13")
    head = [
        *units[border:],
        ("bn1", nn.BatchNorm2d(channels, eps=_BN_EPSILON)),
        ("dropout5", nn.Dropout(0.4)),
        ("flatten", nn.Flatten()),
        ("pre_fc1", nn.Linear(channels * 7 * 7, EMBEDDING_SIZE)),
        ("fc1", nn.BatchNorm1d(EMBEDDING_SIZE, eps=_BN_EPSILON)),
    ]
    return Embedder(
        "pretrained",
        EMBEDDING_SIZE,
        nn.Sequential(OrderedDict(units[:border])),
        nn.Sequential(OrderedDict(head)),
    )


def _name_in_onnx(name: str) -> str:
    """`trunk.conv_2_dw.batchnorm.running_mean` -> `conv_2_dw_batchnorm_moving_mean`."""
    words = name.split(".")[1:]
    layer, value = "_".join(words[:-1]), words[-1]
    if layer.endswith("batchnorm") or layer in {"bn1", "fc1"}:
        value = value.replace("running", "moving")
        value = {"weight": "gamma", "bias": "beta"}.get(value, value)
    elif layer.endswith("relu"):
        value = "gamma"
    return f"{layer}_{value}"


def sface_centre() -> np.ndarray:
    """Return the mean embedding (128,) float32 of SFace as published, over photos of LFW.

    A constant, so that each release of SFace as published has the same embedder, also where it is
    averaged with mirrored crops, whose mean differs little: of 1,000 photos, as they are,
    evenly spread over those of the DevTrain people that `lfw_calibrated` does not test on.
    """
    text = Path(__file__).with_name("sface_centre.json").read_text("utf-8")
    return np.array(json.loads(text), np.float32)


def load_sface(path: Path) -> Embedder:
    """Return SFace with the weights of the ONNX file `path`, in evaluation mode.

    Raises FaceOpsError: the file is not SFace.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(path).graph
    except (DecodeError, OSError):
        raise FaceOpsError(f"{path} is not a readable ONNX file; fetch it again.") from None
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    model = build_sface()
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        array = arrays.get(_name_in_onnx(name))
        if array is None or array.size != value.numel():
            raise FaceOpsError(
                f"{path} lacks {_name_in_onnx(name)} as SFace has it; "
                "supply face_recognition_sface_2021dec.onnx."
            )
        state[name] = torch.from_numpy(array.copy()).reshape(value.shape)
    model.load_state_dict(state)
    return model.eval()
