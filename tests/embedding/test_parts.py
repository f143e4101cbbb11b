"""An embedding is made of parts, each an embedding of its own."""

import torch
import torch.nn.functional as F

from faceops.embedding.parts import parts_of


def test_each_part_has_length_1() -> None:
    torch.manual_seed(0)
    embeddings = F.normalize(torch.randn(5, 12), dim=1)
    parts = parts_of(embeddings, 3)
    assert [part.shape for part in parts] == [(5, 4)] * 3
    for number, part in enumerate(parts):
        assert torch.allclose(part.norm(dim=1), torch.ones(5))
        taken = embeddings[:, 4 * number : 4 * number + 4]
        assert torch.allclose(part * taken.norm(dim=1, keepdim=True), taken)


def test_the_only_part_is_the_embedding_untouched() -> None:
    embeddings = torch.randn(5, 12)
    assert parts_of(embeddings, 1) == [embeddings]
