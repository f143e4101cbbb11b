"""`faceops evaluate`: what a bundle is worth on the test people."""

import argparse
import json
from pathlib import Path
from typing import Any


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser("evaluate", help="score a release bundle on the test people")
    parser.add_argument(
        "--bundle", type=Path, default=Path("build/export"), help="folder [%(default)s]"
    )
    parser.add_argument(
        "--crops",
        type=Path,
        default=Path("build/crop"),
        help="output of the crop stage [%(default)s]",
    )
    parser.add_argument(
        "--split",
        type=Path,
        default=Path("build/split/faces.parquet"),
        help="output of the split stage [%(default)s]",
    )
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="parameter file [%(default)s]"
    )
    parser.add_argument("--threads", type=int, default=2, help="ONNX Runtime threads [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from faceops.config import read_params
    from faceops.errors import UsageError
    from faceops.release.bundle import Bundle
    from faceops.release.evaluate_bundle import evaluate_bundle

    if args.threads < 1:
        raise UsageError(f"--threads {args.threads} is wrong: 1 or more.")
    if not args.bundle.is_dir():
        raise UsageError(f"{args.bundle} is not a folder; name a release bundle's folder.")
    settings = read_params(args.params).evaluate
    bundle = Bundle.load(args.bundle, threads=args.threads)
    crops = args.crops / "crops.npy" if args.crops.is_dir() else args.crops
    figures = evaluate_bundle(bundle, crops, args.split, settings).figures
    if args.json:
        print(json.dumps(figures, indent=2, sort_keys=True))
    else:
        print(f"{args.bundle} on {figures['people']} test people, {figures['photos']} photos")
        for protocol in ("verification", "closed_set", "open_set"):
            print(f"\n{protocol}")
            for line in table(figures[protocol]):
                print(f"  {line}")
    return 0


def table(figures: dict[str, Any]) -> list[str]:
    """Return aligned lines `name value (low to high)`."""
    lines = []
    for name, value in figures.items():
        if name.endswith("_interval"):
            continue
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        interval = figures.get(f"{name}_interval")
        if interval and interval["low"] is not None:
            shown += f"  ({interval['low']:.4f} to {interval['high']:.4f})"
        lines.append(f"{name:<28} {shown}")
    return lines
