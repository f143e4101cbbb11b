"""Embeddings of all crops: computed once, and continued after an interruption."""

from pathlib import Path

import numpy as np
import pytest

from faceops.release.embeddings import resumable_embeddings

SIZE = 4


def test_an_interrupted_run_continues_and_other_models_start_anew(tmp_path: Path) -> None:
    crops = np.arange(200, dtype=np.uint8).repeat(3).reshape(200, 1, 1, 3)
    np.save(tmp_path / "crops.npy", crops)
    seen: list[int] = []

    def embed(block: np.ndarray) -> np.ndarray:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(block))
        return np.tile(block[:, 0, 0, :1].astype(np.float32), SIZE)

    def run(model: str) -> tuple[np.ndarray, Path]:
        return resumable_embeddings(embed, SIZE, tmp_path / "crops.npy", tmp_path / "kept", model)

    with pytest.raises(KeyboardInterrupt):
        run("one")
    (file,) = (tmp_path / "kept").iterdir()
    with file.open("ab") as rows:
        rows.write(b"half")
    seen.clear()
    embeddings, kept = run("one")
    assert seen == [64, 8]
    assert kept == file
    np.testing.assert_array_equal(embeddings, np.tile(np.arange(200)[:, None], SIZE))
    seen.clear()
    assert np.array_equal(run("one")[0], embeddings) and seen == []
    with pytest.raises(KeyboardInterrupt):
        run("two")
    assert file not in (tmp_path / "kept").iterdir()
