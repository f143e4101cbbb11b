"""What patches of training faces look like: the words of Fisher vectors."""

import hashlib
import warnings
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from faceops.base.progress import track
from faceops.embedding import embed_crops
from faceops.embedding.backbones import input_stage
from faceops.embedding.backbones.input_stage import InputStage, brightness_of
from faceops.embedding.descriptors import cells, dense_sift, edge_maps, fisher_vectors
from faceops.embedding.descriptors.fisher_vectors import PROJECTED, WORDS, FisherVectors
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.faces_and_code import faces_and_code

_FACES = 1000
_OF_A_FACE = 120  # patches; more where faces are so few that words would have fewer than ten
_BATCH = 16
_SEED = 7  # not the run's: another seed of weights must not describe all faces anew
_PARTS, _ROUNDS = 5, 5  # progress is shown after each part of as many rounds
_LEAST_VARIANCE = 1e-5
_LEAST_WEIGHT = 1e-6  # a word that no patch shows must not divide by 0
_CODE = (cells, dense_sift, edge_maps, embed_crops, fisher_vectors, input_stage)

_Part = TypeVar("_Part", bound=nn.Module)


def kept_words(model: Embedder, faces: LabelledCrops, folder: Path) -> None:
    """Put words into `model` as `learn_words` does, or those that it has kept in `folder`.

    Words that a run before has learnt do not change with the number of threads, so what was
    described by them stays good.
    """
    if not len(faces.rows):
        return  # training refuses so few, in its own words
    path = folder / f"words-{_words_key(faces)[:16]}.safetensors"
    for stale in set(folder.glob("words-*")) - {path}:
        stale.unlink()
    if not path.exists():
        learn_words(model, faces)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        save_file(_part(model, FisherVectors).state_dict(), temporary)
        temporary.replace(path)
    _part(model, FisherVectors).load_state_dict(load_file(path))


def _words_key(faces: LabelledCrops) -> str:
    """Return a sha256 over the crops and the code; not over the words that are replaced."""
    import sklearn

    seen = faces_and_code(faces, (__name__, *(module.__name__ for module in _CODE)))
    return hashlib.sha256(f"{sklearn.__version__} {seen}".encode()).hexdigest()


def learn_words(model: Embedder, faces: LabelledCrops) -> None:
    """Fit the words of `model`, a network with `FisherVectors`, to patches of `faces`, not none.

    Up to 1,000 faces give 120 patches each, fewer than eleven faces 1,280 together: principal
    components of their descriptors, then expectation maximisation. The same faces give the same
    words on one machine with as many threads.
    """
    vectors = _part(model, FisherVectors)
    described, places = drawn_patches(model, faces, np.random.default_rng(_SEED))
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    analysis = PCA(PROJECTED, random_state=_SEED).fit(described)
    projected = analysis.transform(described)
    # Where a patch is counts as much as a middling component of what it shows.
    spread = projected.std(0).mean() / places.std()
    mixture = GaussianMixture(
        WORDS,
        covariance_type="diag",
        reg_covar=_LEAST_VARIANCE,
        max_iter=_ROUNDS,
        init_params="k-means++",
        warm_start=True,
        random_state=_SEED,
    )
    seen = np.concatenate([projected, spread * places], axis=1)
    with warnings.catch_warnings():
        # The rounds are counted: more of them tell people apart no better.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in track(range(_PARTS), "visual words"):
            mixture.fit(seen)
    downwards = np.argsort(mixture.means_[:, PROJECTED], kind="stable")
    means, variances, weights = (
        of_words[downwards] for of_words in (mixture.means_, mixture.covariances_, mixture.weights_)
    )
    weights = np.maximum(weights, _LEAST_WEIGHT)
    vectors.put_words(
        projection=analysis.components_,
        middle=analysis.mean_,
        spread=spread,
        means=means,
        deviations=np.sqrt(variances),
        weights=weights / weights.sum(),
    )


def _part(model: Embedder, kind: type[_Part]) -> _Part:
    (part,) = (part for part in model.trunk.modules() if isinstance(part, kind))
    return part


@torch.inference_mode()
def drawn_patches(
    model: Embedder, faces: LabelledCrops, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 (M, 128) and (M, 2): descriptors and places of patches of faces drawn.

    Of every second face they are those of its mirror image.
    """
    stage, vectors = _part(model, InputStage), _part(model, FisherVectors)
    device = vectors.means.device
    rows = draw.permutation(faces.rows)[:_FACES]
    count = max(_OF_A_FACE, -(-10 * WORDS // len(rows)))
    described, places = [], []
    grid = vectors.patches.places.cpu().numpy()
    for start in track(range(0, len(rows), _BATCH), "patches", after_s=2):
        pixels = embed_crops.pixels_of(faces.crops[rows[start : start + _BATCH]], device)
        found = vectors.patches(brightness_of(stage(pixels))).cpu().numpy()
        for number, patches in enumerate(found):
            drawn = draw.choice(len(patches), count, replace=False)
            mirrored = (start + number) % 2 == 1
            order = vectors.patches.mirrored if mirrored else slice(None)
            described.append(patches[drawn][:, order])
            places.append(grid[drawn] * (1, -1 if mirrored else 1))
    return np.concatenate(described), np.concatenate(places).astype(np.float32)
