"""ArcFace (Deng et al. 2019): a margin on the angle."""

import math

import torch

from faceops.embedding.heads.classification_head import ClassificationHead

# float32 cosines are 6e-8 apart below 1, so 1 - cos^2 is 0 or at least 1.2e-7: the floor touches
# nothing but the zeros, whose square root would have an infinite gradient.
_SMALLEST_SINE_SQUARED = 1e-8


class ArcFace(ClassificationHead):
    """The true person's cosine counts as cos(t + margin); margin 0 <= m < pi / 2 radians, .5.

    Where t + m would pass pi, cos(t + m) would rise again and pull the face away from its person;
    from there on cos(t) - m sin(m) takes its place, as in the authors' own training: it falls with
    t to the end, below all that comes before it.
    """

    def less_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        """Return cos(t + margin) for `cosines` = cos(t).

        By the addition theorem, not by arccos, whose gradient at cosine 1 and -1 is infinite. At
        these two the gradient is that of cos(t) cos(m) alone.
        """
        sines = (1 - cosines.square()).clamp_min(_SMALLEST_SINE_SQUARED).sqrt()
        turned = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        beyond = cosines - self.margin * math.sin(self.margin)
        return torch.where(cosines >= -math.cos(self.margin), turned, beyond)
