"""What is kept by a network's weights is found by the same weights alone."""

import copy

import torch
from torch import nn

from faceops.embedding.model_file import weights_sha256


def test_it_hangs_on_every_name_and_value_that_is_stored() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    known = weights_sha256(network)
    assert weights_sha256(copy.deepcopy(network)) == known
    assert weights_sha256(nn.Sequential(*network, nn.ReLU())) == known
    assert weights_sha256(nn.Sequential(nn.ReLU(), *network)) != known  # other names
    others = set()
    for name in network.state_dict():
        other = copy.deepcopy(network)
        other.state_dict()[name].add_(1)
        others.add(weights_sha256(other))
    assert len(others - {known}) == len(network.state_dict())
