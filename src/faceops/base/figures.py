"""Figures of error rates: how many errors a rate allows, and rounding for JSON."""

import math
from typing import Any


def allowed_false_accepts(far: float, impostors: int) -> int:
    """Return how many of `impostors` pairs may be accepted at the false accept rate `far`."""
    # far * impostors may be 2.9999999999999996 where it means 3.
    return math.floor(far * impostors + 1e-9)


def rounded(value: Any) -> Any:
    """Return nested dictionaries and lists with every float at six digits; NaN becomes None."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
