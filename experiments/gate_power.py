"""How small a loss the gate detects: a release against itself with noise in its embedder.

    python -m experiments.gate_power --bundle build/export --split build/split/faces.parquet \\
        --data data

Each challenger is the release with Gaussian noise on its embedder's weights and the same
thresholds. All pass through the registry and the gate like any release, with the rules of
params.yaml. On LFW about two minutes a challenger.
"""

import os
import shutil
import tempfile
from pathlib import Path

from experiments import parser, run
from faceops.config.params_file import read_params
from faceops.gate.promote import gate_release
from faceops.gate.rules import RuleResult
from faceops.registry.register import register
from faceops.registry.store import SPLIT_ARTIFACT, use_tracking
from faceops.registry.versions import Version
from tests.releases import alter_release

NOISE = (0.0, 0.02, 0.05, 0.1, 0.2)


def registered(bundle: Path, split: Path, what: str) -> Version:
    """Register `bundle` with the split it was built from."""
    import mlflow

    with mlflow.start_run() as active:
        mlflow.log_artifact(str(split), SPLIT_ARTIFACT.partition("/")[0])
    return register(bundle, active.info.run_id, what)


def shown(rule: RuleResult) -> str:
    """Return the difference and its interval."""
    return f"{rule.gain:+.4f} ({rule.low:+.4f} to {rule.high:+.4f})"


def main() -> None:
    """Register, gate, print."""
    options = parser(__doc__)
    options.add_argument("--bundle", type=Path, default=Path("build/export"), metavar="DIR")
    options.add_argument("--split", type=Path, default=Path("build/split/faces.parquet"))
    options.add_argument("--data", type=Path, default=Path("data"), metavar="DIR")
    args = options.parse_args()
    rules = read_params(Path("params.yaml")).gate
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "data").symlink_to(args.data.resolve())
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow.db"
        os.environ["FACEOPS_CACHE"] = str(root / "cache")
        use_tracking(root)
        champion = registered(args.bundle, args.split, "champion")
        print("| noise | DIR | TAR | verdict |\n| --- | --- | --- | --- |")
        for noise in NOISE:
            bundle = alter_release(args.bundle, root / "altered", noise=noise)
            challenger = registered(bundle, args.split, f"noise {noise:g}")
            verdict = gate_release(challenger, champion, root, rules, threads=2)
            by_name = {rule.name.partition(" ")[0]: rule for rule in verdict.rules}
            broken = ", ".join(rule.name for rule in verdict.rules if not rule.passed)
            result = "passed" if verdict.passed else f"refused: {broken}"
            print(f"| {noise:g} | {shown(by_name['DIR'])} | {shown(by_name['TAR'])} | {result} |")
            shutil.rmtree(bundle)
        print(f"\n{verdict.photos:,} photos of {verdict.people:,} people")


if __name__ == "__main__":
    run(main)
