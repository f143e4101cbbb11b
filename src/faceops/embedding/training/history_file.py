"""The history of a run as CSV: a line an epoch, empty where a figure does not exist."""

import math
from pathlib import Path
from typing import Any

from faceops.base.tables import write_csv

COLUMNS = (
    *("epoch", "phase", "miner", "learning_rate", "loss", "active_triplets"),
    *("positive_distance", "negative_distance", "spread"),
    *("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"),
)


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """Write `history` to `path`; numbers with six significant digits."""
    write_csv(path, COLUMNS, ([_cell(row.get(name, "")) for name in COLUMNS] for row in history))


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
