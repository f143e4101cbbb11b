"""What the gate sees: a release against itself with ever more noise in its embedder.

python -m experiments.gate_power --bundle build/export --split build/split/faces.parquet --data data

Every challenger is the release with noise in its embedder's weights; its thresholds stay, so a
loss is a loss of the embedder alone. All go through the registry and the gate as releases do, with
the rules of params.yaml. On LFW about two minutes a challenger.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.config import read_params
from faceops.release.gate.gate_release import gate_release
from faceops.release.gate.verdict import Rule, Verdict
from faceops.release.registry.fetch_split import SPLIT_ARTIFACT
from faceops.release.registry.register import register
from faceops.release.registry.tracking import use_tracking
from faceops.release.registry.versions import Version
from tests.altered_release import alter_release

NOISE = (0.0, 0.02, 0.05, 0.1, 0.2)


def registered(bundle: Path, split: Path, what: str) -> Version:
    """Register `bundle` with the split that it was made from."""
    import mlflow

    with mlflow.start_run() as run:
        mlflow.log_artifact(str(split), SPLIT_ARTIFACT.partition("/")[0])
    return register(bundle, run.info.run_id, what)


def shown(rule: Rule) -> str:
    """Return the difference and its interval."""
    return f"{rule.gain:+.4f} ({rule.low:+.4f} to {rule.high:+.4f})"


def row(noise: float, verdict: Verdict) -> str:
    """Return a line of the table."""
    by_name = {rule.name.partition(" ")[0]: rule for rule in verdict.rules}
    broken = ", ".join(rule.name for rule in verdict.rules if not rule.passed)
    return (
        f"| {noise:g} | {shown(by_name['DIR'])} | {shown(by_name['TAR'])} | "
        f"{'passed' if verdict.passed else f'refused: {broken}'} |"
    )


def main() -> int:
    """Register, gate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", type=Path, required=True, metavar="FILE")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    rules = read_params(Path("params.yaml")).gate
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "data").symlink_to(args.data.resolve())
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow.db"
        os.environ["FACEOPS_CACHE"] = str(root / "cache")
        try:
            use_tracking(root)
            champion = registered(args.bundle, args.split, "as it is")
            print("| noise | DIR | TAR | verdict |\n| --- | --- | --- | --- |")
            for noise in NOISE:
                bundle = alter_release(args.bundle, root / "altered", noise=noise)
                challenger = registered(bundle, args.split, f"noise {noise:g}")
                verdict = gate_release(challenger, champion, root, rules, threads=2)
                print(row(noise, verdict), flush=True)
                shutil.rmtree(bundle)
            print(f"\n{verdict.photos:,} photos of {verdict.people:,} people")
        except FaceOpsError as error:
            print(f"gate_power: {error}", file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
