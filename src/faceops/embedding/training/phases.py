"""Which epochs classify, which learn from triplets, and with which miner."""

from typing import Any

from faceops.config.sections import Train


def epochs_of(settings: Train) -> int:
    """Return the epochs of a run whose patience lasts."""
    return settings.warmup_epochs + settings.triplet_epochs


def phase_of(epoch: int, settings: Train) -> str:
    """Return "warmup" or "triplet"; epochs count from 1."""
    return "warmup" if epoch <= settings.warmup_epochs else "triplet"


def miner_of(epoch: int, settings: Train) -> str:
    """Return the miner of a triplet epoch; a warm-up has none.

    With 10 triplet epochs {semi_hard: 0.4, batch_hard: 1.0} gives four of the one and six of the
    other.
    """
    if epoch <= settings.warmup_epochs:
        return ""
    begun = (epoch - settings.warmup_epochs - 1) / settings.triplet_epochs
    return next(name for name, until in settings.miners.items() if begun < until - 1e-9)


def next_epoch(last: dict[str, Any], idle: int, settings: Train) -> int | None:
    """Return the epoch after the one whose history row is `last`, or None when patience is out.

    A warm-up whose validation score did not rise for `patience` epochs (`idle`) gives way to
    triplets; a triplet phase then ends the run.
    """
    if idle < settings.patience:
        return int(last["epoch"]) + 1
    if last["phase"] == "triplet" or settings.triplet_epochs == 0:
        return None
    return settings.warmup_epochs + 1
