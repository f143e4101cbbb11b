"""Which epoch is kept, and when patience counts anew."""

import torch

from faceops.embedding.heads import build_head
from faceops.embedding.training.checkpoint import RunState


def test_a_gain_below_the_tolerance_is_kept_but_renews_no_patience() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    optimiser = torch.optim.AdamW(module.parameters())
    head = build_head("softmax", 8, 2, 1.0, 0.0)
    run = RunState(torch.device("cpu"), module, head, optimiser)
    seen = []
    for epoch, score in enumerate([0.5, 0.505, 0.503, 0.52, 0.529]):
        torch.nn.init.constant_(module.weight, epoch)
        run.take_in({"epoch": epoch, "val_score": score}, min_delta=0.01)
        seen.append((run.outcome.best_epoch, run.idle, run.best["weight"].item()))
    assert seen == [(0, 0, 0), (1, 1, 1), (1, 2, 1), (3, 0, 3), (4, 1, 4)]
