"""`faceops evaluate`: what a model is worth, by any protocol, on any labelled photos."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.commands.bundle_argument import add_precision_argument
from faceops.commands.figures_table import figures_lines, side_by_side

if TYPE_CHECKING:
    from faceops.config.sections import Params

PIPELINE = "pipeline"
# As in faceops.release.protocols, which takes a second to import; a test holds the two together.
PROTOCOLS = (
    *("all", "pairs", "one-against-ten", "closed-set", "open-set"),
    *("lfw-view1", "lfw-view2", "promise", "robustness"),
)

DESCRIPTION = """
Score a release, or an embedder made elsewhere (a folder with embedder.onnx and adapter.json).
Without --data: all protocols on the pipeline's own test people. With --data: one protocol on a
folder of photos/<person>/<photo>. Faces are found and embedded once and kept in the work folder;
an interrupted run goes on from there. Name several bundles to see them side by side.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "evaluate", help="score a model by a protocol on labelled photos", description=DESCRIPTION
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        metavar="DIR",
        help="a release or a foreign embedder; may be given again [build/export]",
    )
    add_precision_argument(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="labelled photos")
    parser.add_argument(
        "--protocol",
        metavar="P",
        help=f"{PIPELINE} (default), or with --data: {', '.join(PROTOCOLS)} [all]",
    )
    for name, what in (
        ("--people", "with --data: only these people, one name a line"),
        ("--lists", "where LFW's lists of pairs are [found beside the photos]"),
        ("--slices", "a CSV of attributes a person or a photo: figures for each group"),
        ("--out", "folder for report.html, evaluation.json and, of --data, photos.csv"),
    ):
        parser.add_argument(name, type=Path, help=what)
    for name, default, what in (
        ("--work", "build/evaluations", "faces and embeddings of --data are kept here"),
        ("--crops", "build/crop", "output of the crop stage"),
        ("--split", "build/split/faces.parquet", "output of the split stage"),
        ("--params", "params.yaml", "parameter file; with --data it may be absent"),
    ):
        parser.add_argument(name, type=Path, default=Path(default), help=f"{what} [%(default)s]")
    parser.add_argument("--threads", type=int, default=2, help="threads [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from faceops.base.errors import UsageError

    if args.threads < 1:
        raise UsageError(f"--threads {args.threads} is wrong: 1 or more.")
    args.protocol = args.protocol or ("all" if args.data else PIPELINE)
    if args.protocol not in (PIPELINE, *PROTOCOLS):
        known = ", ".join((PIPELINE, *PROTOCOLS))
        raise UsageError(f"there is no protocol {args.protocol!r}; choose from {known}.")
    if (args.protocol == PIPELINE) == (args.data is not None):
        wanted = "takes no --data" if args.data else "needs --data DIR, a folder of labelled photos"
        raise UsageError(f"the protocol {args.protocol} {wanted}.")
    for name in ("people", "lists"):
        if args.data is None and getattr(args, name) is not None:
            raise UsageError(f"--{name} needs --data DIR, a folder of labelled photos.")
    bundles = args.bundle or [Path("build/export")]
    if args.out and len(bundles) > 1:
        raise UsageError("--out takes one --bundle; evaluate the others by themselves.")
    for bundle in bundles:
        if not bundle.is_dir():
            raise UsageError(f"{bundle} is not a folder; name a release bundle's folder.")
    evaluate = _on_pipeline if args.data is None else _on_data
    figures = [evaluate(bundle, args) for bundle in bundles]
    if args.json:
        shown: Any = figures[0] if len(figures) == 1 else {"bundles": figures}
        print(json.dumps(shown, indent=2, sort_keys=True))
    elif len(figures) == 1:
        print("\n".join(figures_lines(str(bundles[0]), figures[0])))
    else:
        print("\n".join(side_by_side([str(bundle) for bundle in bundles], figures)))
    return 0


def _on_pipeline(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from faceops.config import read_params
    from faceops.release.evaluate_bundle import embed_split, evaluate_model
    from faceops.release.measured_model import open_model
    from faceops.release.write_report import write_report

    settings = read_params(args.params).evaluate
    if args.slices is not None:
        settings = settings.model_copy(update={"slices": str(args.slices)})
    model = open_model(folder, args.threads, args.precision)
    crops = args.crops / "crops.npy" if args.crops.is_dir() else args.crops
    faces = embed_split(model, crops, args.split)
    evaluation = evaluate_model(model, faces, settings, threads=args.threads)
    if args.out is not None:
        write_report(
            args.out,
            model,
            evaluation.figures,
            faces=faces,
            crops=faces.crops,
            evaluation=evaluation,
            fars=settings.far,
            seed=settings.seed,
        )
        _write(args.out, evaluation.figures)
    return evaluation.figures


def _on_data(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from faceops.dataset.people_list import read_people_list
    from faceops.release.evaluate_data import DataRequest, evaluate_data
    from faceops.release.measured_model import open_model
    from faceops.release.write_report import write_report

    request = DataRequest(
        data=args.data,
        protocol=args.protocol,
        people=None if args.people is None else read_people_list(args.people),
        lists=args.lists,
        slices=args.slices,
        split=args.split,
        work=args.work,
    )
    model, params = open_model(folder, args.threads, args.precision), _params(args.params)
    done = evaluate_data(model, request, params, args.threads)
    if args.out is not None:
        write_report(
            args.out,
            model,
            done.figures,
            faces=done.embedded.faces,
            crops=done.embedded.crops,
            evaluation=done.evaluation,
            fars=params.evaluate.far,
            seed=params.evaluate.seed,
        )
        _write(args.out, done.figures)
        done.embedded.write(args.out / "photos.csv", done.seen.split or {})
    return done.figures


def _params(path: Path) -> "Params":
    """Return what the file says; the defaults where the usual one is absent."""
    from faceops.config import read_params
    from faceops.config.sections import Params

    return Params() if path == Path("params.yaml") and not path.exists() else read_params(path)


def _write(folder: Path, figures: dict[str, Any]) -> None:
    from faceops.base.errors import FaceOpsError
    from faceops.base.files import write_json

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "evaluation.json", figures)
    except OSError as error:
        raise FaceOpsError(f"{folder} cannot be written ({error.strerror}).") from None
