"""Every picture is drawn, also where there is little to draw."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Evaluate
from faceops.evaluation.curves import deviate
from faceops.evaluation.evaluate import Evaluation, evaluate
from faceops.evaluation.plots import read_history, write_plots, write_promise_plot
from faceops.evaluation.similarity_map import choose_faces, draw_similarity_map, place
from tests.evaluation.simulated import VERIFIER, people, thresholds

FACES = people(60, 4, 0.4, 2)
FARS = [0.01, 0.001]
HISTORY = "epoch,phase,loss,val_tar\n0,start,,0.5\n1,warmup,2.5,0.7\n2,triplet,0.3,0.8\n"


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(FACES, VERIFIER, thresholds(), Evaluate(pairs=100, pair_draws=2))


@pytest.mark.slow
def test_all_pictures_are_drawn(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HISTORY)
    history = read_history(tmp_path / "history.csv")
    written = write_plots(evaluation, thresholds(), FARS, tmp_path, history)
    names = ["roc", "det", "scores", "cmc", "calibration", "promise", "loss"]
    assert [path.stem for path in written] == names
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10  # not blank


def test_what_was_not_measured_is_not_drawn(evaluation: Evaluation, tmp_path: Path) -> None:
    written = write_plots(evaluation, None, FARS, tmp_path, [{"epoch": "0"}])
    assert [path.stem for path in written] == ["roc", "det", "scores", "cmc", "promise"]
    write_promise_plot([{"seen": None}], tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_history_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("epoch,loss\n1,2\n", "epoch,phase,loss,val_tar\n1,a,much,0\n", "\xff\n1\n"):
        (tmp_path / "history.csv").write_bytes(text.encode("latin-1"))
        with pytest.raises(FaceOpsError, match=r"history\.csv is no history"):
            read_history(tmp_path / "history.csv")


def test_normal_deviates() -> None:
    rates = np.array([0.0013499, 0.5, 0.9772499])
    np.testing.assert_allclose(deviate(rates), [-3, 0, 2], atol=1e-4)


def test_the_map_shows_people_with_several_photos_each_face_in_its_own_cell() -> None:
    rows = choose_faces(np.array(["one", *["two"] * 2, *["ten"] * 10]), 0)
    assert np.bincount((rows > 0).astype(int) + (rows > 2)).tolist() == [0, 2, 8]
    few = FACES.of(np.arange(40))
    cells = place(few.embeddings, 0)
    assert len(np.unique(cells, axis=0)) == 40
    # The photos of one person lie nearer to each other than to those of others.
    gaps = np.abs(cells[:, None] - cells).max(-1)
    same = few.persons[:, None] == few.persons
    assert np.median(gaps[same]) < np.median(gaps[~same]) / 3
    crops = np.zeros((40, 112, 112, 3), np.uint8)
    first, second = (draw_similarity_map(few, crops, 0) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.tobytes() == second.tobytes()
    assert draw_similarity_map(few, None, 0) is None
    assert draw_similarity_map(few.of(np.arange(8)), crops[:8], 0) is None
