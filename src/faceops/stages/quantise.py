"""Stage quantise: the embedder in int8, offered where it is good enough on validation people.

A graph that the quantiser does not take stops nothing: the release then offers float32 only.
"""

from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.figures import rounded, threshold_at
from faceops.base.files import write_json
from faceops.base.work import track, usable_cpus
from faceops.config.sections import Params, Quantise
from faceops.faces.inference_session import open_session
from faceops.release.bundle import Bundle, run_embedder
from faceops.release.contract import EMBEDDER, Int8, Int8Measured, Release
from faceops.release.export import Offer, embedder_file, load_network, pair_verifier, write_offer
from faceops.release.int8_graph import CannotQuantise, quantise_embedder
from faceops.stages import BUNDLE, CROPS, EMBED, FACES, MANIFEST, run_stage, stage_params
from faceops.verification.embedded_faces import evenly_spread, photo_sources, read_rows, read_split
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import PairScores, all_pair_scores
from faceops.verification.thresholds import people_for_far
from faceops.verification.verifier import reaches, sigmoid

OUT = Path("build/quantise")
_BLOCK = 256
_OF_QUALITY = ("quality_deciles", "quality_version", "length_scale")  # lengths hardly differ


def main() -> None:
    """Write build/quantise: the folder int8, see `Offer`, and the metrics quantise.json."""
    params = stage_params()
    bundle = Bundle.load(BUNDLE, own=True)
    made_from = bundle.release.contract_id
    rows = evenly_spread(read_split(FACES, "train").rows, params.quantise.calibration_crops)
    crops = read_rows(CROPS, rows)
    network = load_network(BUNDLE / EMBEDDER)
    try:
        quantised = quantise_embedder(network, crops, params.quantise.float_layers)
    except CannotQuantise as error:
        print(error)
        write_offer(OUT / "int8", Offer(made_from=made_from, int8=None), b"")
        write_json(OUT / "quantise.json", {"offered": False, "why_not": str(error)})
        return
    embedder, stated = embedder_file(quantised)
    section, measured, refusal = compare_with_float32(
        bundle, embedder, bundle.release.with_embedder(stated), params, len(crops)
    )
    write_offer(OUT / "int8", Offer(made_from=made_from, int8=section), embedder)
    figures: dict[str, Any] = {
        "offered": not refusal,
        "why_not": refusal,
        "tar_loss": measured.tar_float32 - measured.tar_int8,
        "bytes": {"float32": (BUNDLE / EMBEDDER).stat().st_size, "int8": len(embedder)},
        **measured.model_dump(mode="json"),
    }
    write_json(OUT / "quantise.json", rounded(figures))
    print(
        refusal
        or f"int8 is offered: TAR at FAR {measured.far:g} {measured.tar_int8:.4f}, float32 "
        f"{measured.tar_float32:.4f}, mean cosine {measured.mean_cosine:.4f}"
    )


def compare_with_float32(
    bundle: Bundle, embedder: bytes, release: Release, params: Params, calibration_crops: int
) -> tuple[Int8 | None, Int8Measured, str]:
    """Return the section of release.json, what was measured, and why there is no section.

    The same verifier scores all pairs of the validation people by the float32 embeddings of the
    embed stage and by those of `embedder`; thresholds are measured as in the verify stage.
    `release` is that of `bundle` with `embedder` in it.
    """
    val = read_split(FACES, "val")
    crops, floats = read_rows(CROPS, val.rows), read_rows(EMBED / "embeddings.npy", val.rows)
    verifier = pair_verifier(bundle)
    session = open_session(embedder, threads=1)
    size = bundle.release.embedding_size
    ints = np.empty_like(floats)
    for start in track(range(0, len(crops), _BLOCK), "embedding blocks of faces in int8"):
        part = slice(start, start + _BLOCK)
        ints[part] = run_embedder(session, crops[part], size, usable_cpus()).embeddings

    def scored(embeddings: np.ndarray) -> PairScores:
        seed = params.verify.seed
        return all_pair_scores(embeddings, val.persons, verifier, log_odds=True, seed=seed)

    far = params.quantise.far
    tar_float32 = true_accept_rate(scored(floats), far)
    logits = scored(ints)
    tar = tar_float32, true_accept_rate(logits, far)
    measured = measure_int8((floats, ints), tar, val.persons, params.quantise, calibration_crops)
    refusal = why_not(measured)
    if refusal:
        return None, measured, refusal
    probabilities = PairScores(sigmoid(logits.genuine), sigmoid(logits.impostor), logits.sampled)
    float32 = bundle.release.thresholds  # of the same people and crops
    thresholds = measure_thresholds(
        ints, val.persons, verifier, probabilities, params.verify, float32.data,
        photo_sources(MANIFEST, val.paths),
    )  # fmt: skip
    section = Int8(
        weight=release.weights[EMBEDDER],
        contract_id=release.contract_id,
        thresholds=thresholds.model_copy(
            update={name: getattr(float32, name) for name in _OF_QUALITY}
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

    `tar` are the true accept rates of both at `settings.far`, see `true_accept_rate`.
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


def true_accept_rate(scores: PairScores, far: float) -> float:
    """Return the share of genuine pairs accepted at the threshold for false accept rate `far`."""
    impostors = np.sort(np.asarray(scores.impostor, np.float32))[::-1]
    return float(reaches(scores.genuine, threshold_at(impostors, far)).mean())


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


if __name__ == "__main__":
    run_stage(main)
