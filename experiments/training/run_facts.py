"""What the figures of a run depend on, in words."""

import platform
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from experiments.training.read_settings import ROOT
from faceops.release.assemble import git_commit


def run_facts(
    data_seen: str, settings: BaseModel, fitted: dict[str, dict[str, Any]], device: torch.device
) -> dict[str, str]:
    """Return label -> words: data, settings, training, machine, commit.

    Args:
        data_seen: by the model, in words.
        settings: of training.
        fitted: name -> facts of a run, as of `Fitted`; "" names the only one.
        device: where it was trained.
    """
    stated = ", ".join(f"{key} {value}" for key, value in settings.model_dump().items())
    facts = {"data": data_seen, "settings": stated}
    for name, run in fitted.items():
        last = run["history"][-1]
        spreads = [row["spread"] for row in run["history"] if "spread" in row]
        watched = (
            f", an epoch's mean spread never below {min(spreads):.2f},"
            f" {last['active_triplets']:.4f} of all triplets active in the last epoch"
            if spreads
            else ""
        )
        facts[f"training {name}".strip()] = (
            f"{run['epochs']} epochs ({run['stopped']}), the best is {run['best_epoch']},"
            f" {run['seconds']:.0f} s, {run['images_per_second']:.0f} images/s{watched}"
        )
    facts["machine"] = machine(device)
    facts["commit"] = git_commit(ROOT)
    return facts


def machine(device: torch.device) -> str:
    """Return what computes, the threads, and torch's version."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
        models = [line.partition(": ")[2] for line in lines.splitlines() if "model name" in line]
        name = models[0] if models else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"
