"""Where to compute."""

import torch

from faceops.base.errors import FaceOpsError


def choose_device(name: str) -> torch.device:
    """Return the device `name`; "auto" is a CUDA GPU when there is one, else the CPU.

    Raises:
        FaceOpsError: "cuda" without a GPU; falling back in silence would cost days.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise FaceOpsError(
            "train.device = cuda, but torch finds no CUDA GPU; set it to auto or cpu."
        )
    return torch.device(name)
