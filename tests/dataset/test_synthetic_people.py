"""Synthetic people: the same bytes everywhere, a small set is part of a large one, resuming."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.dataset.synthetic.generator import load_generator, photo_latent
from faceops.dataset.synthetic.make import make_synthetic
from faceops.dataset.synthetic.people import SyntheticSettings, invented_name

SMALL = SyntheticSettings(people=2, photos=2, gallery=2, enrol_photos=1, strangers=2, scenes=1)

MAKE = """
import sys
from pathlib import Path
import torch
from faceops.dataset.synthetic.make import make_synthetic
from faceops.dataset.synthetic.people import SyntheticSettings
import faceops.dataset.synthetic.generator as generator
generator.usable_cpus = lambda: int(sys.argv[3])
settings = SyntheticSettings(people=2, photos=2, gallery=2, enrol_photos=1, strangers=2, scenes=1)
make_synthetic(Path(sys.argv[1]), settings, Path(sys.argv[2]))
"""


def digests(folder: Path) -> dict[str, str]:
    """Return relative path -> sha256 of every file below `folder`."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def generator(weights_dir: Path) -> Path:
    return weights_dir / "weights.tar"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, generator: Path) -> Path:
    data = tmp_path_factory.mktemp("small") / "data"
    make_synthetic(data, SMALL, generator)
    return data


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_processor_or_the_number_of_threads(
    small: Path, tmp_path: Path, generator: Path
) -> None:
    threads = 3
    # The oldest code paths of libjpeg-turbo, torch, oneDNN, MKL, OpenBLAS and NumPy.
    oldest = {
        "JSIMD_FORCENONE": "1",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "MKL_DEBUG_CPU_TYPE": "4",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-c", MAKE, str(tmp_path / "data"), str(generator), str(threads)]
    subprocess.run(command, env={**os.environ, **oldest}, check=True)
    assert digests(tmp_path / "data") == digests(small)


def test_a_second_run_writes_nothing_and_a_lost_file_comes_back(
    small: Path, generator: Path
) -> None:
    before = digests(small)
    assert make_synthetic(small, SMALL, generator)["written"] == 0
    lost = min(path for path in before if path.startswith("photos/"))
    (small / lost).unlink()
    assert make_synthetic(small, SMALL, generator)["written"] == 1
    assert digests(small) == before


def test_a_small_set_is_part_of_a_larger_one(small: Path, tmp_path: Path, generator: Path) -> None:
    larger = SyntheticSettings(people=3, photos=3, gallery=2, enrol_photos=1, strangers=2, scenes=1)
    make_synthetic(tmp_path / "data", larger, generator)
    now = digests(tmp_path / "data")
    shared = {path: value for path, value in digests(small).items() if path != "sources.json"}
    assert shared.items() <= now.items()


def test_other_settings_are_refused(small: Path, generator: Path) -> None:
    other = SyntheticSettings(people=2, photos=2, seed=8, gallery=2, enrol_photos=1, scenes=1)
    with pytest.raises(FaceOpsError, match="seed = 7, not 8"):
        make_synthetic(small, other, generator)


def test_a_folder_of_other_files_is_refused(tmp_path: Path, generator: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Ann")
    with pytest.raises(FaceOpsError, match="--out"):
        make_synthetic(tmp_path, SMALL, generator)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="--people 0"):
        SyntheticSettings(people=0)


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.tar").write_bytes(b"nothing of the kind")
    with pytest.raises(FaceOpsError, match="faceops weights fetch"):
        load_generator(tmp_path / "weights.tar")


def test_no_two_people_share_a_name() -> None:
    names = [invented_name(group, person) for group in range(3) for person in range(2000)]
    assert len(set(names)) == len(names)


def test_a_batch_gives_the_faces_of_single_draws(generator: Path) -> None:
    draw = load_generator(generator)
    latents = np.stack([photo_latent(7, 0, person, (0, 1)) for person in range(3)])
    one_by_one = np.concatenate([draw(latent[None]) for latent in latents])
    assert np.array_equal(draw(latents), one_by_one)
    assert one_by_one.shape == (3, 64, 64, 3)
    assert draw(np.empty((0, 100))).shape == (0, 64, 64, 3)
