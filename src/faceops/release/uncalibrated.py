"""Figures of a model that was never calibrated, without those that take it at its word."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# What holds only where a score of even odds means even odds.
_NEED_CALIBRATION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "verification": ("accuracy", "calibration_error"),
        "random_pairs": ("accuracy",),
    }
)


def without_probabilities(figures: dict[str, Any], name: str) -> dict[str, Any]:
    """Return `figures` of the model `name` without those, and why they are absent."""
    kept = dict(figures)
    for protocol, prefixes in _NEED_CALIBRATION.items():
        if protocol in kept:
            kept[protocol] = {
                key: value for key, value in kept[protocol].items() if not key.startswith(prefixes)
            }
    told = "figures that take a probability or a threshold at its word are absent"
    return kept | {"uncalibrated": f"{name} was made elsewhere and nothing was calibrated: {told}"}
