"""Pooling by the Euclidean norm of a window, which FaceNet's Inception uses beside the maximum."""

import torch
import torch.nn.functional as F
from torch import nn

# Under the root: the gradient at a window of zeros, which ReLU makes often, is 0 and not NaN.
_EPSILON = 1e-6


class L2Pool(nn.Module):
    """float (B, C, H, W) -> (B, C, H, W): the root of the sum of squares of 3 x 3 pixels."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool `features`; beyond the border are zeros."""
        means = F.avg_pool2d(features * features, kernel_size=3, stride=1, padding=1)
        return torch.sqrt(9 * means + _EPSILON)
