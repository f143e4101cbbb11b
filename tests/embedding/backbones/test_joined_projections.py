"""A release projects once where training does so twice."""

import numpy as np
import torch

from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.joined_projections import with_joined_projections
from faceops.embedding.embed_crops import embed_crops
from faceops.embedding.embedder import Embedder
from tests.embedding.faces_for_training import coloured_people

CROPS = coloured_people(3, 2, noise=90).crops


def numbers(model: Embedder) -> int:
    return sum(value.numel() for value in model.parameters())


def test_descriptors_embed_alike_by_fewer_numbers() -> None:
    torch.manual_seed(0)
    model = build_backbone("descriptors", 48, 112, "grey").eval()
    joined = with_joined_projections(model).eval()
    assert np.allclose(embed_crops(joined, CROPS), embed_crops(model, CROPS), atol=1e-5)
    assert joined.parts == model.parts and joined.embedding_size == 48
    assert numbers(joined) < numbers(model) / 25


def test_another_network_is_left_as_it_is() -> None:
    model = build_backbone("mobilefacenet", 8)
    assert with_joined_projections(model) is model
