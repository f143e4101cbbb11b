"""Every picture is drawn, also where there is little to draw."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Evaluate
from faceops.evaluation.evaluate import Evaluation, deviate, evaluate_embeddings
from faceops.evaluation.plots import read_history, write_plots
from tests.evaluation.simulated import VERIFIER, people, thresholds

FACES = people(60, 4, 0.4, 2)
FARS = [0.01, 0.001]
HISTORY = "epoch,phase,loss,val_tar\n0,start,,0.5\n1,warmup,2.5,0.7\n2,triplet,0.3,0.8\n"


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate_embeddings(FACES, VERIFIER, thresholds(), Evaluate(pairs=100, pair_draws=2))


@pytest.mark.slow
def test_all_pictures_are_drawn(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HISTORY)
    history = read_history(tmp_path / "history.csv")
    rows = evaluation.figures["promise"]
    written = write_plots(evaluation, thresholds(), FARS, rows, tmp_path, history)
    names = ["roc", "det", "scores", "cmc", "calibration", "promise", "loss"]
    assert [path.stem for path in written] == names
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10  # not blank


def test_what_was_not_measured_is_not_drawn(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: path.touch())
    written = write_plots(evaluation, None, FARS, [{"seen": None}], tmp_path, [{"epoch": "0"}])
    assert [path.stem for path in written] == ["roc", "det", "scores", "cmc"]
    assert write_plots(None, None, FARS, [{"seen": None}], tmp_path / "nowhere") == []


def test_a_file_that_is_not_a_history_is_refused(tmp_path: Path) -> None:
    for text in ("epoch,loss\n1,2\n", "epoch,phase,loss,val_tar\n1,a,much,0\n", "\xff\n1\n"):
        (tmp_path / "history.csv").write_bytes(text.encode("latin-1"))
        with pytest.raises(FaceOpsError, match=r"history\.csv is not a training history"):
            read_history(tmp_path / "history.csv")


def test_normal_deviates() -> None:
    rates = np.array([0.0013499, 0.5, 0.9772499])
    np.testing.assert_allclose(deviate(rates), [-3, 0, 2], atol=1e-4)
