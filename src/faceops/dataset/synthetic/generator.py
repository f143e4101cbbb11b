"""The generator of faces: a DCGAN (Radford, Metz, Chintala 2016) trained on rendered faces.

Run in float64, where two CPUs differ by 1e-14 and a rounding to 8 bits does not show it.
"""

import pickle  # for the name of its error: nothing is unpickled
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceops.base.cpus import usable_cpus
from faceops.base.errors import FaceOpsError
from faceops.dataset.synthetic.latents import LATENT_SIZE

TILE = 64  # pixels: the side of a drawn face
BATCH = 64

# (index of the transposed convolution in the state dict, stride, padding)
_LAYERS = ((0, 1, 0), (3, 2, 1), (6, 2, 1), (9, 2, 1), (12, 2, 1))
_LAST = _LAYERS[-1][0]

Draw = Callable[[np.ndarray], np.ndarray]


def load_generator(weights: Path) -> Draw:
    """Return a function from latents, float64 (N, 100), to faces, uint8 (N, 64, 64, 3) RGB.

    Raises:
        FaceOpsError: the file is not the generator's state dict.
    """
    import torch

    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)["netG_state_dict"]
        state = {name: value.double() for name, value in state.items()}
        layers = [_layer(state, index) for index, _, _ in _LAYERS]
    except (
        OSError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ValueError,
        EOFError,
        pickle.PickleError,
    ) as error:
        raise FaceOpsError(
            f"{weights} is not the generator of synthetic people ({type(error).__name__}); "
            "fetch it again with `faceops weights fetch synthetic_people`."
        ) from None

    def draw_batch(latents: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(latents.reshape(-1, LATENT_SIZE, 1, 1))
        for (kernel, scale, shift), (index, stride, padding) in zip(layers, _LAYERS, strict=True):
            x = torch.nn.functional.conv_transpose2d(x, kernel, stride=stride, padding=padding)
            x = torch.tanh(x) if index == _LAST else torch.relu(x * scale + shift)
        return ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def draw(latents: np.ndarray) -> np.ndarray:
        threads = torch.get_num_threads()
        torch.set_num_threads(usable_cpus())
        try:
            with torch.inference_mode():
                starts = range(0, len(latents), BATCH)
                batches = [draw_batch(latents[start : start + BATCH]) for start in starts]
        finally:
            torch.set_num_threads(threads)
        return np.concatenate([np.empty((0, TILE, TILE, 3), np.uint8), *batches])

    return draw


def _layer(state: dict, index: int) -> tuple:
    """Return kernel, scale and shift: batch normalisation as one multiplication and addition."""
    kernel = state[f"main.{index}.weight"]
    if index == _LAST:
        return kernel, None, None
    norm = f"main.{index + 1}"
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
    shift = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return kernel, scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)
