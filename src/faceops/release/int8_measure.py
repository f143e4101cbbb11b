"""The int8 embedder beside float32, on validation people: its loss, and whether it is offered."""

import numpy as np

from faceops.base.figures import roc
from faceops.base.work import track, usable_cpus
from faceops.config.sections import Params, Quantise
from faceops.faces.inference_session import open_session
from faceops.faces.quality import LengthScale
from faceops.release.bundle import Bundle, run_embedder
from faceops.release.contract import EMBEDDER, Int8, Int8Measured, Release
from faceops.release.export import pair_verifier
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import PairScores, all_pair_scores
from faceops.verification.thresholds import people_for_far
from faceops.verification.verifier import sigmoid

_BLOCK = 256
_OF_QUALITY = ("quality_deciles", "quality_version")  # shares of lengths hardly differ


def compare_with_float32(
    bundle: Bundle,
    embedder: bytes,
    release: Release,
    val: EmbeddedFaces,
    sources: np.ndarray,
    params: Params,
    calibration_crops: int,
) -> tuple[Int8 | None, Int8Measured, str]:
    """Return the section of release.json, what was measured, and why there is no section.

    The same verifier scores all pairs of the validation people by their float32 embeddings and by
    those of `embedder`; thresholds are measured as in the verify stage.

    Args:
        release: that of `bundle`, with `embedder` in it.
        val: with crops, embedded by `bundle`.
        sources: of the faces of `val`, see `photo_sources`.
    """
    assert val.crops is not None
    verifier = pair_verifier(bundle)
    session = open_session(embedder, threads=1)
    size = bundle.release.embedding_size
    ints, lengths = np.empty_like(val.embeddings), np.empty(len(val), np.float32)
    for start in track(range(0, len(val), _BLOCK), "embedding blocks of faces in int8"):
        part = slice(start, start + _BLOCK)
        ints[part], lengths[part] = run_embedder(session, val.crops[part], size, usable_cpus())

    def scored(embeddings: np.ndarray) -> PairScores:
        seed = params.verify.seed
        return all_pair_scores(embeddings, val.persons, verifier, log_odds=True, seed=seed)

    def accepted(scores: PairScores) -> float:
        return roc(scores.genuine, scores.impostor).tar(params.quantise.far)

    tar_float32 = accepted(scored(val.embeddings))
    logits = scored(ints)
    embeddings, tar = (val.embeddings, ints), (tar_float32, accepted(logits))
    measured = measure_int8(embeddings, tar, val.persons, params.quantise, calibration_crops)
    refusal = why_not(measured)
    if refusal:
        return None, measured, refusal
    probabilities = PairScores(sigmoid(logits.genuine), sigmoid(logits.impostor))
    float32 = bundle.release.thresholds  # of the same people and crops
    thresholds = measure_thresholds(
        ints, val.persons, verifier, probabilities, params.verify, float32.data, sources
    )
    section = Int8(
        weight=release.weights[EMBEDDER],
        contract_id=release.contract_id,
        thresholds=thresholds.model_copy(
            update={name: getattr(float32, name) for name in _OF_QUALITY}
            | {"length_scale": LengthScale.of(lengths)}
        ),
        measured=measured,
    )
    return section, measured, ""


def measure_int8(
    embeddings: tuple[np.ndarray, np.ndarray],
    tar: tuple[float, float],
    persons: np.ndarray,
    settings: Quantise,
    calibration_crops: int,
) -> Int8Measured:
    """Compare `embeddings` (of float32, of int8), each (N, D), L2-normalised, of `persons` (N,).

    `tar` are the true accept rates of both at `settings.far`.
    """
    cosine = np.einsum("nd,nd->n", *(part.astype(np.float64) for part in embeddings))
    return Int8Measured(
        people=len(np.unique(persons)),
        photos=len(persons),
        far=settings.far,
        tar_float32=round(tar[0], 6),
        tar_int8=round(tar[1], 6),
        tar_loss_allowed=settings.max_tar_loss,
        min_cosine=round(float(cosine.min()), 6),
        mean_cosine=round(float(cosine.mean()), 6),
        calibration_crops=calibration_crops,
    )


def why_not(measured: Int8Measured) -> str:
    """Return the sentence that says why int8 is not offered, "" if it is."""
    needed = people_for_far(measured.far)
    if measured.people < needed:
        return (
            f"int8 is not offered: TAR at FAR {measured.far:g} needs {needed} validation people, "
            f"not {measured.people}; raise quantise.far or give more people."
        )
    loss = measured.tar_float32 - measured.tar_int8
    if not loss < measured.tar_loss_allowed:
        return (
            f"int8 is not offered: TAR at FAR {measured.far:g} falls by {loss:.4f} (from "
            f"{measured.tar_float32:.4f} to {measured.tar_int8:.4f}) on {measured.people} "
            f"validation people, and must fall by less than quantise.max_tar_loss = "
            f"{measured.tar_loss_allowed:g}."
        )
    return ""
