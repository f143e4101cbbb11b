"""The release of a command, where MLflow is not installed."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.modules["mlflow"] = None
from faceops.cli import main
sys.exit(main(["enrol", "."]))
"""


def test_without_mlflow_a_registered_release_is_refused_with_the_way_out(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "models:/faceops@champion needs MLflow, which is not installed" in done.stderr
    assert "--bundle DIR" in done.stderr
    assert done.stderr.count("\n") == 1
