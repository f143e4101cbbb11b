"""`faceops evaluate`: what a model is worth, by any protocol, on any labelled photos."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.cli.bundle_argument import add_precision_argument

if TYPE_CHECKING:
    from faceops.config.sections import Params


_TOLD = ("bundle", "protocol", "data", "people", "photos")
_ABSENT = "-"
_OF_GROUPS = ("people", "photos", "tar", "false_accept_rate", "dir", "fpir")


def figures_lines(name: str, figures: dict[str, Any]) -> list[str]:
    """Return the lines that show all figures of the model `name`."""
    lines = [f"{name} on {figures['people']} people, {figures['photos']} photos"]
    if "data" in figures:
        lines += _data_lines(figures["data"])
    for protocol, value in figures.items():
        if protocol in _TOLD:
            continue
        if isinstance(value, str):
            lines += ["", f"{protocol}: {value}"]
            continue
        lines += ["", protocol]
        told = _slices(value) if protocol == "slices" else _lines(value)
        lines += [f"  {line}" for line in told]
    return lines


def side_by_side(names: Sequence[str], figures: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each figure and a column for each model."""
    tables = [dict(_flat(one)) for one in figures]
    rows = list(dict.fromkeys(name for table in tables for name in table))
    first = max(len(row) for row in rows)
    columns = [[name, *(table.get(row, _ABSENT) for row in rows)] for name, table in
               zip(names, tables, strict=True)]  # fmt: skip
    lines = []
    for row, *cells in zip(["", *rows], *columns, strict=True):
        told = "  ".join(
            f"{cell:>{max(map(len, column))}}" for cell, column in zip(cells, columns, strict=True)
        )
        lines.append(f"{row:<{first}}  {told}")
    if "data" in figures[0]:
        lines += ["", *_data_lines(figures[0]["data"])]
    return lines


def _slices(slices: dict[str, Any]) -> list[str]:
    """Return a table for each attribute, a row a group; why a group is too small stands below."""
    lines: list[str] = []
    for attribute, groups in slices.items():
        if attribute in ("worst", "about"):
            lines += [attribute, *(f"  {line}" for line in _lines(groups))]
            continue
        rows = [
            {attribute: value}
            | {key: group[key] for key in group if key.removesuffix("_interval") in _OF_GROUPS}
            for value, group in groups.items()
        ]
        lines += _table(rows, share=False)
        lines += [f"! {value}: {g['too_small']}" for value, g in groups.items() if g["too_small"]]
        lines.append("")
    return lines


def _data_lines(data: dict[str, Any]) -> list[str]:
    rejected = ", ".join(f"{count} {reason}" for reason, count in data["without_face"].items())
    lines = [
        f"{data['folder']}: {data['photos']} photos of {data['people']} people, "
        f"{data['faces']} faces" + (f"; without: {rejected}" if rejected else "")
    ]
    return [*lines, data["seen"]["told"]]


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        flat = [line for line in _scalars(value) if line]
        for name, inner in value.items():
            if _nested(inner) and not name.endswith("_interval"):
                flat += [name, *(f"  {line}" for line in _lines(inner))]
        return flat
    if isinstance(value, list):
        return _table(value)
    return [_shown(value)]


def _nested(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and len(value) > 0 and isinstance(value[0], dict)
    )


def _scalars(figures: dict[str, Any]) -> Iterator[str]:
    for name, value in figures.items():
        if name.endswith("_interval") or _nested(value) or value == "":
            continue
        shown = _shown(value)
        interval = figures.get(f"{name}_interval")
        if interval and interval["low"] is not None:
            shown += f"  ({interval['low']:.4f} to {interval['high']:.4f})"
        yield f"{name:<32} {shown}"


def _table(rows: list[Any], share: bool = True) -> list[str]:
    """Return a list of equal dictionaries as a table; above it what all rows `share`."""
    if not rows or not isinstance(rows[0], dict):
        return [_shown(rows)]
    names = [n for n in dict.fromkeys(n for row in rows for n in row) if "interval" not in n]
    common = len(rows) > 1 and share
    shared = [n for n in names if common and all(row.get(n) == rows[0].get(n) for row in rows)]
    told = [f"{name:<32} {_shown(rows[0].get(name))}" for name in shared]
    names = [name for name in names if name not in shared]
    cells = [[_cell(row, name) for name in names] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(names, *cells, strict=True)]
    return told + [
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [names, *cells]
    ]


def _cell(row: dict[str, Any], name: str) -> str:
    interval = row.get(f"{name}_interval")
    told = _shown(row.get(name))
    if interval and interval["low"] is not None:
        told += f" ({interval['low']:.4f} to {interval['high']:.4f})"
    return told


def _flat(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        if not prefix and name in ("bundle", "protocol", "data"):
            continue
        if isinstance(value, dict):
            if not name.endswith("_interval"):
                yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, row in enumerate(value):
                which = row.get("alteration", str(number))
                yield from _flat(row, f"{prefix}{name}.{which}.")
        elif not isinstance(value, str):
            interval = figures.get(f"{name}_interval")
            told = _cell({name: value, f"{name}_interval": interval}, name)
            yield f"{prefix}{name}", told


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2g}"
    return ", ".join(_shown(v) for v in value) if isinstance(value, list) else str(value)


PIPELINE = "pipeline"
# The same names as in faceops.release.evaluate.evaluate, which takes a second to import;
# a test compares the two.
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
    from faceops.config.params_file import read_params
    from faceops.release.evaluate.evaluate import embed_split, evaluate_test_people
    from faceops.release.evaluate.measured_model import open_model
    from faceops.release.evaluate.report import write_report

    params = read_params(args.params)
    if args.slices is not None:
        settings = params.evaluate.model_copy(update={"slices": str(args.slices)})
        params = params.model_copy(update={"evaluate": settings})
    model = open_model(folder, args.threads, args.precision)
    crops = args.crops / "crops.npy" if args.crops.is_dir() else args.crops
    faces = embed_split(model, crops, args.split)
    result = evaluate_test_people(model, faces, params, Path("data"), args.threads)
    if args.out is not None:
        write_report(args.out, result, params.evaluate)
        _write(args.out, result.figures)
    return result.figures


def _on_data(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from faceops.dataset.names import read_people_list
    from faceops.release.evaluate.evaluate import FolderRequest, evaluate_folder
    from faceops.release.evaluate.measured_model import open_model
    from faceops.release.evaluate.report import write_report

    request = FolderRequest(
        data=args.data,
        protocol=args.protocol,
        people=None if args.people is None else read_people_list(args.people),
        lists=args.lists,
        slices=args.slices,
        split=args.split,
        work=args.work,
    )
    model, params = open_model(folder, args.threads, args.precision), _params(args.params)
    done = evaluate_folder(model, request, params, args.threads)
    if args.out is not None:
        write_report(args.out, done.result, params.evaluate)
        _write(args.out, done.result.figures)
        done.photos.write(args.out / "photos.csv", done.seen.split or {})
    return done.result.figures


def _params(path: Path) -> "Params":
    """Return what the file says; the defaults where the usual one is absent."""
    from faceops.config.params_file import read_params
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
