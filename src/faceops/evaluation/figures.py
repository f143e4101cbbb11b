"""Figures as they are written to JSON."""

import math
from typing import Any


def rounded(value: Any) -> Any:
    """Return nested dictionaries and lists with every float at six digits; NaN becomes None."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
