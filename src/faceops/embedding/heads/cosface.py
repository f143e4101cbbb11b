"""CosFace (Wang et al. 2018): a margin on the cosine."""

import torch

from faceops.embedding.heads.classification_head import ClassificationHead


class CosFace(ClassificationHead):
    """The true person's cosine counts as cos(t) - margin; margin 0 <= m < 1, .35 in the paper."""

    def less_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return `cosines` - margin."""
        return cosines - self.margin
