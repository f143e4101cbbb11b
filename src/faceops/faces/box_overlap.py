"""How much of two boxes is shared."""

Box = tuple[float, float, float, float]  # x, y, width, height
SAME_BOX = 0.5  # two boxes of one photo that overlap so much show one face


def shared_area(one: Box, other: Box) -> float:
    """Return the area that lies in both boxes."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)


def box_overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    shared = shared_area(one, other)
    union = one[2] * one[3] + other[2] * other[3] - shared
    return shared / union if union > 0 else 0.0
