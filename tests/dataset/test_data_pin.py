"""data.dvc pins the synthetic people, and this machine draws the very same bytes."""

import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from faceops.dataset.synthetic.make import make_synthetic
from faceops.dataset.synthetic.people import SyntheticSettings


def dvc_hash(folder: Path) -> tuple[str, int]:
    """Return the hash that `dvc add` gives `folder`, by DVC's own code, and its file count."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    files = LocalFileSystem()
    with tempfile.TemporaryDirectory() as store:
        odb = LocalHashFileDB(files, store)
        _, meta, tree = build(odb, str(folder), files, "md5", dry_run=True)
    return tree.hash_info.value, meta.nfiles


def pin(repository: Path) -> str:
    """Return the committed data.dvc: in the working tree it may pin somebody's own photos."""
    shown = subprocess.run(
        ["git", "show", "HEAD:data.dvc"], cwd=repository, capture_output=True, text=True
    )
    return (repository / "data.dvc").read_text() if shown.returncode else shown.stdout


def test_the_pin_can_be_read(repository: Path) -> None:
    assert yaml.safe_load(pin(repository))["outs"][0]["path"] == "data"


@pytest.mark.slow
def test_the_default_set_has_the_pinned_hash(
    repository: Path, weights_dir: Path, tmp_path: Path
) -> None:
    make_synthetic(tmp_path / "data", SyntheticSettings(), weights_dir / "weights.tar")
    pinned = yaml.safe_load(pin(repository))["outs"][0]
    assert dvc_hash(tmp_path / "data") == (pinned["md5"], pinned["nfiles"])
