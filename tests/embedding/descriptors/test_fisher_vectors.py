"""Fisher vectors are slopes of the likelihood of what is seen."""

import math

import torch

from faceops.embedding.descriptors.fisher_vectors import PROJECTED, WORDS, FisherVectors
from tests.embedding.descriptors.cloudy_photos import cloudy_photos


def likelihood(
    seen: torch.Tensor, weights: torch.Tensor, means: torch.Tensor, deviations: torch.Tensor
) -> torch.Tensor:
    """Return the mean logarithm of the mixture's density at `seen` (N, 66)."""
    words = torch.distributions.Independent(torch.distributions.Normal(means, deviations), 1)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(probs=weights), words
    )
    return mixture.log_prob(seen).mean()


def test_they_are_scaled_slopes_of_the_likelihood() -> None:
    torch.manual_seed(1)
    vectors = FisherVectors()
    vectors.put_words(
        **{name: value.numpy() for name, value in vectors.named_buffers(recurse=False)}
        | {
            "weights": torch.softmax(torch.randn(WORDS), 0).numpy(),
            "deviations": (0.05 + 0.2 * torch.rand(WORDS, PROJECTED + 2)).numpy(),
        }
    )
    found = vectors(cloudy_photos(30))
    for photo, vector in zip(vectors.seen(cloudy_photos(30)).double(), found.double(), strict=True):
        weights = vectors.weights.double()
        means = vectors.means.double().requires_grad_()
        deviations = vectors.deviations.double().requires_grad_()
        likelihood(photo, weights, means, deviations).backward()
        scale = vectors.deviations.double() / weights.sqrt()[:, None]
        assert means.grad is not None and deviations.grad is not None
        slopes = torch.cat([means.grad * scale, deviations.grad * scale / math.sqrt(2)], 1)
        rooted = slopes.flatten() / (slopes.flatten().abs() + 1e-4).sqrt()
        expected = rooted / rooted.square().mean().sqrt()
        assert torch.allclose(vector, expected, atol=2e-3)


def test_what_is_seen_is_the_projected_patches_and_their_places() -> None:
    torch.manual_seed(1)
    vectors = FisherVectors()
    seen, patches = vectors.seen(cloudy_photos(30)), vectors.patches(cloudy_photos(30))
    count = patches.shape[1]
    assert seen.shape == (2, 2 * count, PROJECTED + 2)
    expected = (patches - vectors.middle) @ vectors.projection.T
    assert torch.allclose(seen[:, :count, :PROJECTED], expected, atol=1e-5)
    places = vectors.spread * vectors.patches.places
    assert torch.allclose(seen[:, :count, PROJECTED:], places.expand(2, -1, -1))
    # The second half are the patches of the mirrored photo, in another order.
    other = vectors.seen(cloudy_photos(30).flip(3))
    assert torch.allclose(seen.sum(1), other.sum(1), atol=1e-2)
    assert torch.allclose(seen[:, count:].sum(1), other[:, :count].sum(1), atol=1e-2)
    assert not torch.allclose(seen[:, :count].sum(1), other[:, :count].sum(1), atol=1)


def test_a_photo_without_edges_has_finite_numbers() -> None:
    for brightness in (0.0, 0.5, 1.0):
        assert torch.isfinite(FisherVectors()(torch.full((1, 1, 112, 112), brightness))).all()


def test_the_words_are_all_that_is_stored() -> None:
    stored = {name: tuple(value.shape) for name, value in FisherVectors().state_dict().items()}
    assert stored == {
        "projection": (64, 128),
        "middle": (128,),
        "spread": (),
        "means": (128, 66),
        "deviations": (128, 66),
        "weights": (128,),
    }
