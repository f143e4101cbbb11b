"""The learning rate over a run: linear warm-up, then half a cosine to zero."""

import math

WARMUP_SHARE = 0.05


def rate_at(step: int, steps: int, peak: float) -> float:
    """Return the rate of `step`, 0 .. steps - 1, of a run of `steps` (Loshchilov et al. 2017)."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
