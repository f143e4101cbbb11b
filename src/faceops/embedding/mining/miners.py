"""The miners that choose triplets within a batch, by their names in params.yaml."""

from collections.abc import Callable

import torch

from faceops.embedding.mining.batch_all_miner import mine_batch_all
from faceops.embedding.mining.batch_hard_miner import mine_batch_hard
from faceops.embedding.mining.random_miner import mine_random
from faceops.embedding.mining.semi_hard_miner import mine_semi_hard
from faceops.embedding.mining.triplet_loss import Triplets

# (distances (B, B), labels (B,), margin, generator) -> triplets of rows of the batch
Miner = Callable[[torch.Tensor, torch.Tensor, float, torch.Generator | None], Triplets]

MINERS: dict[str, Miner] = {
    "random": mine_random,
    "semi_hard": mine_semi_hard,
    "batch_hard": mine_batch_hard,
    "batch_all": mine_batch_all,
}
