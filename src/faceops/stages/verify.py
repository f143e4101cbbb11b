"""Stage verify: fit the pair verifier, find thresholds for stated budgets."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_json
from faceops.config.params_file import read_params
from faceops.dataset.manifest import ACCEPTED
from faceops.embedding.embedder import embed_crops
from faceops.embedding.model_file import load_model
from faceops.evaluation.figures import rounded
from faceops.stages import run_stage
from faceops.verification.fit import fit_verifier
from faceops.verification.measure_thresholds import configured_thresholds
from faceops.verification.split_crops import at_most, read_split

OUT = Path("build/verify")
CROPS, FACES = Path("build/crop/crops.npy"), Path("build/split/faces.parquet")
CROPPED = Path("build/crop/faces.parquet")


def main() -> None:
    """Write build/verify: verifier.json, thresholds.json and the metrics verify.json."""
    params = read_params(Path("params.yaml")).verify
    train = at_most(read_split(CROPS, FACES, "train"), params.faces, params.seed)
    val = read_split(CROPS, FACES, "val")
    model = load_model(Path("build/train"))
    embedded = embed_crops(model, val.crops)
    fit = fit_verifier(
        embed_crops(model, train.crops),
        train.persons,
        embedded,
        val.persons,
        params,
    )
    thresholds = configured_thresholds(embedded, val.persons, fit.verifier, fit.scores, params)
    deciles = quality_deciles(CROPPED, val.paths)
    thresholds = thresholds.model_copy(update={"quality_deciles": deciles})
    OUT.mkdir(parents=True, exist_ok=True)
    fit.verifier.save(OUT / "verifier.json")
    write_json(OUT / "thresholds.json", thresholds.model_dump(mode="json"))
    metrics = {
        **fit.figures(),
        "people": thresholds.people,
        "photos": thresholds.photos,
        "genuine_pairs": thresholds.genuine_pairs,
        "impostor_pairs": thresholds.impostor_pairs,
    }
    write_json(OUT / "verify.json", rounded(metrics))


def quality_deciles(cropped: Path, photos: np.ndarray) -> list[float]:
    """Return the nine deciles of the quality of the faces cropped from `photos`."""
    try:
        table = pq.read_table(cropped, columns=["path", "quality", "status"])
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(f"{cropped} cannot be read ({reason}); run the crop stage.") from None
    chosen = set(photos.tolist())
    quality = [
        row["quality"]
        for row in table.to_pylist()
        if row["status"] == ACCEPTED and row["path"] in chosen
    ]
    return [round(float(value), 4) for value in np.quantile(quality, np.arange(1, 10) / 10)]


if __name__ == "__main__":
    run_stage(main)
