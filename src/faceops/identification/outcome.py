"""What can be decided about a face."""

from enum import StrEnum


class Outcome(StrEnum):
    """The values of the column `decision`."""

    IDENTIFIED = "identified"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
