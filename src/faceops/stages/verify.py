"""Stage verify: fit the pair verifier, find thresholds for stated budgets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from faceops import stages
from faceops.base.figures import rounded
from faceops.base.files import write_json
from faceops.faces.quality import QUALITY_VERSION, LengthScale
from faceops.verification import embedded_faces as tables
from faceops.verification.fit import fit_verifier
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.normalisation import pair_rate
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Part

OUT = Path("build/verify")


def main() -> None:
    """Write build/verify: verifier.json, thresholds.json and the metrics verify.json."""
    params = stages.stage_params().verify
    train = tables.at_most(tables.read_split(stages.FACES, "train"), params.faces, params.seed)
    val = tables.read_split(stages.FACES, "val")
    stored = stages.EMBED / "embeddings.npy"
    train_embeddings, embeddings = (tables.read_rows(stored, one.rows) for one in (train, val))
    fit = fit_verifier(train_embeddings, train.persons, embeddings, val.persons, params)
    parts = tuple(Part(*part) for part in stages.read_json(stages.EMBED / "embed.json")["parts"])
    verifier = replace(fit.verifier, parts=parts)
    source = " and ".join(sorted(stages.read_json(stages.INPUTS / "sources.json"))) or "data/photos"
    data = f"{len(np.unique(val.persons)):,} validation people of {source}"
    thresholds = measure_thresholds(
        embeddings, val.persons, verifier, fit.scores, params, data,
        tables.photo_sources(stages.MANIFEST, val.paths),
    )  # fmt: skip
    thresholds = with_quality(
        thresholds,
        quality_of_photos(stages.CROPPED, val.paths),
        tables.read_rows(stages.EMBED / "lengths.npy", val.rows),
    )
    verifier.save(OUT / "verifier.json")
    write_json(OUT / "thresholds.json", thresholds.model_dump(mode="json"))
    metrics = {
        **fit.figures(),
        "people": thresholds.people,
        "photos": thresholds.photos,
        "genuine_pairs": thresholds.genuine_pairs,
        "impostor_pairs": thresholds.impostor_pairs,
        **population_figures(thresholds),
    }
    write_json(OUT / "verify.json", rounded(metrics))


def population_figures(thresholds: Thresholds) -> dict[str, Any]:
    """Return the calibration sets, and the one that needs the highest threshold, "" without any.

    That is at the default budget, in a gallery of the largest size of the tables.
    """
    known = thresholds.normalisation
    if known is None:
        return {"populations": [], "worst_population": ""}
    size = max((row.gallery_faces for row in thresholds.search), default=1)
    return {
        "populations": [one.model_dump() for one in known.populations],
        "worst_population": known.worst(pair_rate(thresholds.default_budget, size))[0],
    }


def with_quality(thresholds: Thresholds, quality: np.ndarray, lengths: np.ndarray) -> Thresholds:
    """Return `thresholds` with the scale of `lengths` (N,) and the deciles of quality after it.

    `quality` (N,) is that of the photos.
    """
    scaled = thresholds.model_copy(update={"length_scale": LengthScale.of(lengths)})
    after = scaled.quality_after(quality, lengths)
    deciles = [round(float(value), 4) for value in np.quantile(after, np.arange(1, 10) / 10)]
    return scaled.model_copy(
        update={"quality_deciles": deciles, "quality_version": QUALITY_VERSION}
    )


def quality_of_photos(cropped: Path, photos: np.ndarray) -> np.ndarray:
    """Return the quality of the faces cropped from `photos`, paths (N,), float64 (N,)."""
    table = tables.read_columns(cropped, ["path", "quality"])
    found = dict(zip(*table.to_pydict().values(), strict=True))
    return np.array([found[path] for path in photos.tolist()], np.float64)


if __name__ == "__main__":
    stages.run_stage(main)
