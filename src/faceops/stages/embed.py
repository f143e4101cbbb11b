"""Stage embed: export the embedder to ONNX, and embed every crop once with ONNX Runtime.

With `export.mirrored` a crop and its mirror image are averaged, with `export.centred` the mean
embedding of training and validation people is subtracted, with `export.dlib_share` the trained
network is joined with dlib's ResNet.
"""

import hashlib

import numpy as np
import onnx

from faceops.base.files import atomic_path, stage_output, write_file, write_json
from faceops.base.work import track, usable_cpus
from faceops.embedding.backbones.build import load_model, trained_epochs
from faceops.embedding.backbones.mobilefacenet import sface_centre
from faceops.embedding.embedder import Embedder, embed_crops
from faceops.faces.inference_session import open_session
from faceops.release import joined_embedder
from faceops.release.bundle import Embedded, resumable_embeddings, run_embedder
from faceops.release.embedder_graph import export_embedder, measure_parity, require_parity
from faceops.release.export import embedder_file, is_sface_as_published, serialise
from faceops.release.onnx_graph import embedding_size
from faceops.stages import CHECKPOINTS, CROPS, EMBED, FACES, MODEL, run_stage, stage_params
from faceops.verification.embedded_faces import evenly_spread, read_columns

CENTRE_FACES, BLOCK = 1000, 100  # that the mean embedding is taken of, at most


def centre_embedding(
    model: Embedder, start: str, network: onnx.ModelProto, crops: np.ndarray
) -> np.ndarray:
    """Return what is subtracted from the embeddings of `model`, float32 (D,); `network` is it too.

    It is a constant for SFace as published, so that releases which keep it embed alike.
    """
    if is_sface_as_published(model.backbone, start, trained_epochs(MODEL)):
        return sface_centre()
    return mean_embedding(network, crops)


def mean_embedding(network: onnx.ModelProto, crops: np.ndarray) -> np.ndarray:
    """Return the mean embedding float32 (D,) of people of training and validation, a crop each.

    Photos would not do: a person who has most of them would be at the centre, near nobody.
    """
    faces = read_columns(FACES, ["crop", "person", "split"])
    seen = np.array(faces["split"].to_pylist()) != "test"
    people = np.array(faces["person"].to_pylist(), dtype=str)[seen]
    rows = faces["crop"].to_numpy()[seen][np.unique(people, return_index=True)[1]]
    chosen = evenly_spread(rows, CENTRE_FACES)
    session, size = open_session(serialise(network), threads=1), embedding_size(network)
    blocks = np.array_split(chosen, -(-len(chosen) // BLOCK))
    sums = [
        run_embedder(session, crops[block], size, usable_cpus()).embeddings.sum(axis=0)
        for block in track(blocks, "mean embedding")
    ]
    return (np.sum(sums, axis=0) / len(chosen)).astype(np.float32)


def main() -> None:
    """Write build/embed: embedder.onnx, embed.json, and in the order of crops.npy `Embedded`."""
    params = stage_params()
    settings = params.export
    model = load_model(MODEL)
    with stage_output(CROPS):
        crops = np.load(CROPS, mmap_mode="r", allow_pickle=False)
    network = export_embedder(model, settings.opset)
    sample = crops[evenly_spread(np.arange(len(crops)), settings.parity_crops)]
    found = run_embedder(
        open_session(serialise(network), threads=1), sample, model.embedding_size, usable_cpus()
    )
    parity = measure_parity(embed_crops(model, sample), found.embeddings)
    require_parity(parity, settings.max_difference)
    if settings.mirrored:
        network = joined_embedder.mirror_embedder(network)
    if settings.centred:
        centre = centre_embedding(model, params.train.start, network, crops)
        network = joined_embedder.centre_embeddings(network, centre)
    joined = joined_embedder.with_dlib(network, settings.dlib_share)
    embedder, size = embedder_file(joined)[0], embedding_size(joined)
    session = open_session(embedder, threads=1)

    def embed(block: np.ndarray) -> Embedded:
        return run_embedder(session, block, size, usable_cpus())

    key = hashlib.sha256(embedder).hexdigest()
    embedded, partial = resumable_embeddings(embed, size, CROPS, CHECKPOINTS, key)
    EMBED.mkdir(parents=True, exist_ok=True)
    write_file(EMBED / "embedder.onnx", embedder)
    for name, array in embedded._asdict().items():
        with atomic_path(EMBED / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array)
    figures = {
        "crops": len(crops),
        "embedding_size": size,
        "parts": [list(part) for part in joined_embedder.parts_of(network, settings.dlib_share)],
        "epochs": trained_epochs(MODEL),
        "parity_crops": parity.crops,
        "max_difference": float(f"{parity.max_difference:.2g}"),
        "min_cosine": round(parity.min_cosine, 6),
    }
    write_json(EMBED / "embed.json", figures)
    partial.unlink(missing_ok=True)
    print(
        f"embed: {len(crops)} crops; torch and ONNX Runtime differ by at most "
        f"{parity.max_difference:.2g} on {parity.crops} of them"
    )


if __name__ == "__main__":
    run_stage(main)
