"""Stage quantise: the embedder in int8, offered where it is good enough on validation people.

It is for speed, so it embeds each crop once where `export.mirrored` averages two views. A graph
that the quantiser does not take stops nothing: the release then offers float32 only.
"""

from pathlib import Path
from typing import Any

from faceops.base.figures import rounded
from faceops.base.files import write_json
from faceops.release.bundle import Bundle
from faceops.release.contract import EMBEDDER
from faceops.release.export import MIRRORED, Offer, embedder_file, load_network, write_offer
from faceops.release.int8_graph import CannotQuantise, quantise_embedder
from faceops.release.int8_measure import compare_with_float32
from faceops.release.joined_embedder import without_mirror
from faceops.stages import BUNDLE, CROPS, EMBED, FACES, MANIFEST, run_stage, stage_params
from faceops.verification import embedded_faces as tables

OUT = Path("build/quantise")


def main() -> None:
    """Write build/quantise: the folder int8, see `Offer`, and the metrics quantise.json."""
    params = stage_params()
    bundle = Bundle.load(BUNDLE, own=True)
    made_from = bundle.release.contract_id
    rows = tables.read_split(FACES, "train").rows
    rows = tables.evenly_spread(rows, params.quantise.calibration_crops)
    crops = tables.read_rows(CROPS, rows)
    network = without_mirror(load_network(BUNDLE / EMBEDDER))
    try:
        quantised = quantise_embedder(network, crops, params.quantise.float_layers)
    except CannotQuantise as error:
        print(error)
        write_offer(OUT / "int8", Offer(made_from=made_from, int8=None), b"")
        write_json(OUT / "quantise.json", {"offered": False, "why_not": str(error)})
        return
    embedder, stated = embedder_file(quantised)
    stated["source"] = bundle.release.weights[EMBEDDER].source.replace(MIRRORED, "")
    val = tables.read_embedded(FACES, "val", EMBED / "embeddings.npy", CROPS)
    sources = tables.photo_sources(MANIFEST, val.paths)
    release = bundle.release.with_embedder(stated)
    section, measured, refusal = compare_with_float32(
        bundle, embedder, release, val, sources, params, len(crops)
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


if __name__ == "__main__":
    run_stage(main)
