"""A release that differs from another one in its embedder alone: for tests and measurements.

python -m experiments.altered_release BUNDLE OUT

The weights of BUNDLE's embedder get noise of 2 %. Its faces are cut alike; its embeddings are
others, nearly as good, so that the calibration still speaks for them.
"""

import argparse
import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from faceops.release.contract import EMBEDDER, read_release, write_release

NOISE = 0.02
LEAST_WEIGHTS = 1000  # of an initializer: smaller ones are biases, shapes, scales


def alter_release(bundle: Path, folder: Path, seed: int = 1, noise: float = NOISE) -> Path:
    """Write the release in `bundle` with `noise` of `seed` in its embedder to `folder`."""
    shutil.copytree(bundle, folder)
    model = onnx.load(folder / EMBEDDER)
    random = np.random.default_rng(seed)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= LEAST_WEIGHTS:
            factor = 1 + noise * random.standard_normal(values.shape).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values * factor, weight.name))
    content = model.SerializeToString(deterministic=True)
    (folder / EMBEDDER).write_bytes(content)
    release = read_release(folder)
    changed = release.weights[EMBEDDER].model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest()}
    )
    release = release.model_copy(update={"weights": {**release.weights, EMBEDDER: changed}})
    write_release(
        release.model_copy(update={"contract_id": release.expected_contract_id()}), folder
    )
    return folder


def main() -> None:
    """Write the altered release."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("out", type=Path, metavar="OUT")
    args = parser.parse_args()
    alter_release(args.bundle, args.out)


if __name__ == "__main__":
    main()
