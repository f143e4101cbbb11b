"""Stage quantise: the embedder in int8, offered where it is good enough on validation people.

A graph that the quantiser does not take stops nothing: the release then offers float32 only.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from faceops.base.files import write_json
from faceops.base.parallel import usable_cpus
from faceops.base.progress import track
from faceops.config.params_file import read_params
from faceops.config.sections import Params
from faceops.evaluation.figures import rounded
from faceops.faces.inference_session import open_session
from faceops.release.bundle import Bundle, run_embedder
from faceops.release.contract import EMBEDDER, Int8, Int8Measured, Release
from faceops.release.export import serialise
from faceops.release.int8.offer import Offer, measure_int8, true_accept_rate, why_not, write_offer
from faceops.release.int8.quantise import CannotQuantise, quantise_embedder
from faceops.release.verifier_graph import pair_verifier
from faceops.stages import run_stage
from faceops.verification.measure_thresholds import configured_thresholds
from faceops.verification.pairs import PairScores, all_pair_scores
from faceops.verification.split_crops import evenly_spread, read_split
from faceops.verification.verifier import sigmoid

OUT = Path("build/quantise")
BUNDLE = Path("build/export")
CROPS, FACES = Path("build/crop/crops.npy"), Path("build/split/faces.parquet")
_BLOCK = 256


def main() -> None:
    """Write build/quantise: the folder int8, see `Offer`, and the metrics quantise.json."""
    params = read_params(Path("params.yaml"))
    bundle = Bundle.load(BUNDLE, threads=usable_cpus())
    made_from = bundle.release.contract_id
    crops = evenly_spread(read_split(CROPS, FACES, "train"), params.quantise.calibration_crops)
    try:
        embedder = serialise(
            quantise_embedder(onnx.load(BUNDLE / EMBEDDER), crops, params.quantise.float_layers)
        )
    except CannotQuantise as error:
        print(error)
        write_offer(OUT / "int8", Offer(made_from=made_from, int8=None), b"")
        write_json(OUT / "quantise.json", {"offered": False, "why_not": str(error)})
        return
    section, measured, refusal = hold_against_float32(bundle, embedder, params, len(crops))
    write_offer(OUT / "int8", Offer(made_from=made_from, int8=section), embedder)
    figures: dict[str, Any] = {
        "offered": not refusal,
        "why_not": refusal,
        "tar_loss": measured.tar_float32 - measured.tar_int8,
        "bytes": {
            "float32": (BUNDLE / EMBEDDER).stat().st_size,
            "int8": len(embedder),
        },
        **measured.model_dump(mode="json"),
    }
    write_json(OUT / "quantise.json", rounded(figures))
    print(
        refusal
        or f"int8 is offered: TAR at FAR {measured.far:g} {measured.tar_int8:.4f}, float32 "
        f"{measured.tar_float32:.4f}, mean cosine {measured.mean_cosine:.4f}"
    )


def hold_against_float32(
    bundle: Bundle, embedder: bytes, params: Params, calibration_crops: int
) -> tuple[Int8 | None, Int8Measured, str]:
    """Return the section of release.json, what was measured, and why there is no section.

    Both embed the validation people; the same verifier scores all their pairs, and the thresholds
    are measured as the verify stage does it.
    """
    val = read_split(CROPS, FACES, "val")
    verifier = pair_verifier(bundle)
    session = open_session(embedder, bundle.threads, arena=True)
    size = bundle.release.embedding_size
    floats = np.zeros((len(val.crops), size), np.float32)
    ints = np.zeros_like(floats)
    for start in track(range(0, len(val.crops), _BLOCK), "embedding in float32 and int8"):
        part = slice(start, start + _BLOCK)
        floats[part] = bundle.embed(val.crops[part])
        ints[part] = run_embedder(session, val.crops[part], size)

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
    thresholds = configured_thresholds(ints, val.persons, verifier, probabilities, params.verify)
    deciles = bundle.release.thresholds.quality_deciles  # of the same crops
    weight = bundle.release.weights[EMBEDDER].model_copy(
        update={"sha256": hashlib.sha256(embedder).hexdigest()}
    )
    section = Int8(
        weight=weight,
        contract_id=contract_id_with(bundle.release, weight.sha256),
        thresholds=thresholds.model_copy(update={"quality_deciles": deciles}),
        measured=measured,
    )
    return section, measured, ""


def contract_id_with(release: Release, embedder_sha256: str) -> str:
    """Return the contract id of `release` with another embedder."""
    weight = release.weights[EMBEDDER].model_copy(update={"sha256": embedder_sha256})
    weights = release.weights | {EMBEDDER: weight}
    return release.model_copy(update={"weights": weights}).expected_contract_id()


if __name__ == "__main__":
    run_stage(main)
