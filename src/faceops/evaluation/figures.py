"""Figures as text."""

import math


def shown_probability(value: float) -> str:
    """Return a threshold so that two digits of 1 - p are seen: 0.9120, 0.99964, 1-3.6e-06."""
    if value > 1:
        return "none"
    rest = 1 - value
    if rest >= 0.01:
        return f"{value:.4f}"
    if rest >= 1e-5:
        return f"{value:.{1 - math.floor(math.log10(rest))}f}"
    return f"1-{rest:.1e}" if rest > 0 else "1"


def shown_share(value: float | None) -> str:
    """Return a rate with four digits, smaller ones with two significant: 0.9120, 3.1e-05."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2g}"


def shown_interval(interval: dict[str, float | None] | None) -> str:
    """Return "low to high", "" without one."""
    if not interval or interval["low"] is None or interval["high"] is None:
        return ""
    return f"{shown_share(interval['low'])} to {shown_share(interval['high'])}"


def one_in(budget: float) -> str:
    """Return a budget in words: "one stranger in 100", "60% of strangers"."""
    if budget <= 0.5:
        return f"one stranger in {round(1 / budget):,}"
    return f"{budget:.0%} of strangers"
