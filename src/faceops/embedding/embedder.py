"""The parts of every backbone: input stage, trunk, and head with L2-normalised output."""

import os
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.base.work import track

CROP_SIZE = 112  # as in faces.align, on which training does not depend: see deps in dvc.yaml
COLOURS = ("rgb", "grey")
# ITU-R BT.601: how much red, green and blue add to the brightness that the eye sees.
_LUMA = (0.299, 0.587, 0.114)


class InputStage(nn.Module):
    """float32 (B, 3, 112, 112) RGB 0..255 -> float32 (B, C, S, S) in [-1, 1).

    C is 1 for grey, else 3; S is `input_size`. It is a part of the network, so a release takes the
    same crops whatever its network sees. The change of size is antialiased bilinear, as two
    products with a fixed matrix: the same sums on every device and in ONNX, whose antialiased
    Resize differs between runtimes.

    Raises FaceOpsError: a colour that is not in COLOURS.
    """

    luma: torch.Tensor
    resize: torch.Tensor

    def __init__(self, input_size: int = CROP_SIZE, colour: str = "rgb") -> None:
        super().__init__()
        if colour not in COLOURS:
            raise FaceOpsError(f"train.colour = {colour!r} is unknown; set it to rgb or grey.")
        self.channels = 1 if colour == "grey" else 3
        self.resizes = input_size != CROP_SIZE
        # Not in the state dict: they follow from the arguments.
        self.register_buffer("luma", torch.tensor(_LUMA), persistent=False)
        self.register_buffer("resize", resize_matrix(CROP_SIZE, input_size), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.channels == 1 or self.resizes:
            # bfloat16 has 8 bits of mantissa, which would round the pixels.
            with torch.autocast(pixels.device.type, enabled=False):
                if self.channels == 1:
                    # Channels lie last in memory: one product, 50 times as fast as a sum of three.
                    pixels = (pixels.permute(0, 2, 3, 1) @ self.luma).unsqueeze(1)
                if self.resizes:
                    pixels = self.resize @ pixels @ self.resize.T
        return (pixels - 127.5) / 128


FACE = slice(28, 108), slice(22, 90)  # as in faces.quality, see CROP_SIZE
CLIPPED = 249.0  # a pixel with a channel above it is clipped
# A face with more is overexposed. It lies between two counts of pixels: rounding decides nothing.
MOST_CLIPPED = 1632.5 / 5440


class ClippedHighlights(nn.Module):
    """Bring out what an overexposed face still shows: its channel that is clipped last.

    float32 (B, 3, 112, 112) RGB 0..255 -> the same. In skin red is clipped first and blue last:
    where red and green are flat, blue still has the shades. So in a crop with an overexposed face,
    each pixel becomes the mean of itself and its lowest channel. Other crops stay as they are, bit
    for bit, and so does what is grey.
    """

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        highest = pixels[:, :, *FACE].amax(dim=1, keepdim=True)
        share = (highest > CLIPPED).float().mean(dim=(2, 3), keepdim=True)
        mixed = (pixels + pixels.amin(dim=1, keepdim=True)) * 0.5
        return torch.where(share > MOST_CLIPPED, mixed, pixels)


def resize_matrix(source: int, target: int) -> torch.Tensor:
    """Return float32 (target, source): its product with a line of pixels resizes the line.

    Each row is a triangle around the target pixel's centre, as wide as the larger of the two
    pixels on either side, cut at the border, of sum 1.
    """
    step = source / target
    # Sums on the meta device, on which settings are checked, would import torch's compiler.
    centres = (torch.arange(target, dtype=torch.float64, device="cpu") + 0.5) * step
    pixels = torch.arange(source, dtype=torch.float64, device="cpu") + 0.5
    away = (pixels[None, :] - centres[:, None]).abs() / max(step, 1.0)
    weights = (1 - away).clamp_min(0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def conv_unit(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    prelu: bool = False,
) -> nn.Sequential:
    """Return a convolution, batch normalisation, and ReLU or one learned slope per channel (PReLU).

    The convolution has no bias: normalisation takes it away and adds its own.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.PReLU(outputs) if prelu else nn.ReLU(inplace=True),
    )


class Embedder(nn.Module):
    """float32 (B, 3, 112, 112) RGB 0..255 -> float32 (B, D), each row of length 1.

    `trunk` is what fine-tuning may freeze; `head` is what it always trains. Both together see
    the pixels; the head alone sees the trunk's features, which can be computed once and kept.
    `backbone`, `embedding_size`, `input_size` and `colour` are what build_backbone needs to build
    the same network again.
    """

    def __init__(
        self,
        backbone: str,
        embedding_size: int,
        trunk: nn.Module,
        head: nn.Module,
        input_size: int = 112,
        colour: str = "rgb",
    ) -> None:
        super().__init__()
        self.backbone, self.embedding_size = backbone, embedding_size
        self.input_size, self.colour = input_size, colour
        self.trunk, self.head = trunk, head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.embed_features(self.trunk(pixels))

    def embed_features(self, features: torch.Tensor) -> torch.Tensor:
        # Full precision from here, also under autocast: distances and miners need it.
        return F.normalize(self.head(features).float(), dim=1)


def pixels_of(crops: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 (B, 112, 112, 3) RGB -> float32 (B, 3, 112, 112), 0..255, channels last in memory."""
    # A copy: torch warns of read-only arrays, and memory-mapped crops are read-only.
    pixels = torch.from_numpy(np.array(crops)).to(device)
    return pixels.permute(0, 3, 1, 2).float()


def embed_crops(
    model: torch.nn.Module, crops: np.ndarray, batch: int = 64, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Return the embeddings of `crops`, uint8 (N, 112, 112, 3) RGB, as float32 (N, D).

    The model is put on `device` and into evaluation mode.
    """
    if len(crops) == 0:
        raise ValueError("there are no crops to embed")
    model = model.to(device).eval()
    rows = []
    with torch.inference_mode():
        for start in track(range(0, len(crops), batch), "embedding"):
            rows.append(model(pixels_of(crops[start : start + batch], device)).cpu().numpy())
    return np.concatenate(rows)


def compile_network(network: nn.Module) -> None:
    """Let torch compile `network` in place. Raises FaceOpsError: there is no C++ compiler."""
    names = [os.environ.get("CXX", ""), "g++", "clang++"]
    if not any(shutil.which(name) for name in names if name):  # else the first step would fail
        raise FaceOpsError(
            "train.compile needs a C++ compiler; install g++ or set train.compile to false."
        )
    network.compile()


def choose_device(name: str) -> torch.device:
    """Return the device `name`; "auto" is a CUDA GPU when there is one, else the CPU.

    Raises FaceOpsError: "cuda" without a GPU; falling back in silence would cost days.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise FaceOpsError(
            "train.device = cuda, but torch finds no CUDA GPU; set it to auto or cpu."
        )
    return torch.device(name)
