"""How the patches of a face differ from those that most faces have."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from faceops.embedding.descriptors.dense_sift import SIZE, DenseSift

WORDS = 128
PROJECTED = 64  # numbers that are left of a patch's descriptor
_SEEN = PROJECTED + 2  # and where it is
_SOFT = 1e-4  # below it the signed root is straight: rounding is not blown up


class FisherVectors(nn.Module):
    """float32 (B, 1, 112, 112) brightness in [0, 1] -> float32 (B, 16896).

    Fisher vectors (Perronnin et al. 2010) of dense SIFT with places, as for faces (Simonyan et al.
    2013): a mixture of Gaussians, the words, says what patches look like at which place; a face is
    how its patches would move the words' means and deviations, scaled to a mean square of 1, or
    less where nothing is to be seen. Patches of the mirror image count as much as the face's.

    The words are drawn from torch's global generator; `put_words` replaces them by what training
    faces show, from the top of a face to its chin.
    """

    layout = (1, WORDS, 2 * _SEEN)
    projection: torch.Tensor
    middle: torch.Tensor
    spread: torch.Tensor
    means: torch.Tensor
    deviations: torch.Tensor
    weights: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.patches = DenseSift()
        self.register_buffer("projection", torch.randn(PROJECTED, SIZE) * SIZE**-0.5)
        self.register_buffer("middle", torch.full((SIZE,), SIZE**-0.5))
        self.register_buffer("spread", torch.tensor(0.3))
        self.register_buffer("means", 0.1 * torch.randn(WORDS, _SEEN))
        self.register_buffer("deviations", torch.full((WORDS, _SEEN), 0.1))
        self.register_buffer("weights", torch.full((WORDS,), 1 / WORDS))

    def put_words(self, **words: np.ndarray) -> None:
        """Replace all words.

        Args:
            words: float `projection` (64, 128), `middle` (128,), `spread` of places (), and of the
                words, the highest in a face first, `means` and `deviations` (128, 66) and
                `weights` (128,), of sum 1.
        """
        buffers = dict(self.named_buffers(recurse=False))
        assert words.keys() == buffers.keys(), words.keys()
        for name, values in words.items():
            assert np.shape(values) == buffers[name].shape, name
            buffers[name].copy_(torch.as_tensor(values))

    def seen(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return float32 (B, 2 N, 66): patches as the words see them, the mirror image's last."""
        turned = self.projection[:, self.patches.mirrored]
        both = torch.cat([F.pad(part, (0, 0, 0, 2)) for part in (self.projection, turned)])
        offset = (-(self.projection @ self.middle)).expand(len(self.patches.places), PROJECTED)
        places = self.spread * self.patches.places
        mirrored = places * places.new_tensor([1.0, -1.0])
        shift = torch.cat([offset, places, offset, mirrored], dim=1)  # (N, 132)
        return torch.cat((self.patches(brightness) @ both.T + shift).split(_SEEN, dim=2), dim=1)

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Return what the patches of `brightness` say about the words, means before deviations."""
        seen = self.seen(brightness)
        squares = seen.square()
        precise = self.deviations.square().reciprocal()
        # The logarithm of each word's density at each patch, less what all words share.
        constant = self.weights.log() - self.deviations.log().sum(1)
        constant = constant - (self.means.square() * precise).sum(1) / 2
        density = F.linear(seen, self.means * precise, constant) - squares @ (precise / 2).T
        shares = density.softmax(2).transpose(1, 2) / seen.shape[1]  # (B, words, 2 N)
        zeroth = shares.sum(2, keepdim=True)
        first, second = shares @ seen, shares @ squares
        scale = self.weights.sqrt()[:, None]
        by_mean = (first - zeroth * self.means) / (self.deviations * scale)
        around = second - 2 * first * self.means + zeroth * self.means.square()
        by_deviation = (around * precise - zeroth) / (scale * 2**0.5)
        moved = torch.cat([by_mean, by_deviation], dim=2).flatten(1)
        rooted = moved / (moved.abs() + _SOFT).sqrt()
        return rooted / rooted.square().mean(1, keepdim=True).clamp_min(_SOFT).sqrt()
