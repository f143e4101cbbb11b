"""People who are not enrolled get no name."""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from faceops.dataset.synthetic.make import make_synthetic
from faceops.dataset.synthetic.people import SyntheticSettings
from faceops.gallery.store import open_or_create
from faceops.identification.run import identify
from faceops.release.bundle import Bundle

STRANGERS = 48
OTHER_SEED = 1234  # the release was calibrated on people of seed 7


@pytest.fixture(scope="module")
def strangers(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A photo each of people who are in neither the gallery nor the calibration data."""
    folder = tmp_path_factory.mktemp("strangers") / "data"
    settings = SyntheticSettings(
        people=STRANGERS, photos=1, seed=OTHER_SEED, gallery=1, enrol_photos=1, strangers=0,
        scenes=0,
    )  # fmt: skip
    make_synthetic(folder, settings, weights_dir / "weights.tar")
    return sorted((folder / "photos").glob("*/*.jpg"))


def test_strangers_get_no_name_within_the_budget(strangers, sface_bundle, name_of):
    budget = Bundle.load(sface_bundle).release.thresholds.default_budget
    assert len(strangers) == STRANGERS
    named = [photo for photo in strangers if name_of(photo) is not None]
    # Two dozen people support a rate of one stranger in five; more than `most` of 48 has a chance
    # below .002.
    most = next(
        count for count in range(STRANGERS) if chance_of_more(count, STRANGERS, budget) < 0.002
    )
    assert (budget, most) == (0.2, 18)
    assert len(named) <= most


def chance_of_more(count: int, trials: int, share: float) -> float:
    """Return the chance of more than `count` successes in `trials` of chance `share` each."""
    return 1 - sum(
        math.comb(trials, hits) * share**hits * (1 - share) ** (trials - hits)
        for hits in range(count + 1)
    )


def test_an_empty_gallery_gives_no_names(synthetic_set, sface_bundle, tmp_path):
    bundle = Bundle.load(sface_bundle)
    release = bundle.release
    empty = open_or_create(tmp_path / "g", release.contract_id, release.embedding_size)
    photo = synthetic_set / "album" / "scene_001.jpg"
    summary = identify(photo, empty, bundle, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "faces.parquet").to_pylist()
    assert summary.faces == len(rows) > 0
    assert {(row["decision"], row["reason"], row["person"]) for row in rows} == {
        ("unknown", "gallery_empty", None)
    }
