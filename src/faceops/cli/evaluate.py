"""`faceops evaluate`: the figures of a model by any protocol, on any labelled photos."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from faceops import cli
from faceops.base.errors import UsageError
from faceops.base.files import write_json
from faceops.cli.model_choice import add_precision_argument
from faceops.photos.folders import BUNDLE, DATA_SET, EMBEDDINGS, EVALUATION, Use

PIPELINE = "pipeline"
_NOT_FIGURES = ("bundle", "protocol", "data", "populations")  # shown in words


class _Protocols:
    """The protocols' names, imported when they are listed or checked: that takes half a second."""

    def __iter__(self) -> Iterator[str]:
        from faceops.release.evaluate.evaluate import PROTOCOLS

        return iter((PIPELINE, *PROTOCOLS))


def add_parser(subparsers: Any) -> None:
    parser = cli.add_command(subparsers, _evaluate)
    text = "a release or a foreign embedder; may be given again (default: build/export)"
    cli.add_folder(parser, "--bundle", BUNDLE, action="append", help=text)
    add_precision_argument(parser)
    text = (
        "labelled photos, a folder or the URL of a store; may be given again: the promise is shown "
    )
    text += "for each set"
    cli.add_folder(parser, "--data", DATA_SET, action="append", help=text)
    text = f"one of %(choices)s; default: {PIPELINE}, with --data all"
    parser.add_argument("--protocol", choices=_Protocols(), metavar="P", help=text)
    for name, what in (
        ("--people", "with --data: only these people, one name a line"),
        ("--slices", "a CSV of attributes a person or a photo: figures for each group"),
    ):
        parser.add_argument(name, type=Path, metavar="FILE", help=what)
    text = "where LFW's lists of pairs are (default: beside the photos)"
    cli.add_folder(parser, "--lists", DATA_SET, help=text)
    text = "folder for report.html, evaluation.json and, of --data, photos.csv"
    cli.add_folder(parser, "--out", EVALUATION, Use.WRITE, help=text)
    text = "faces and embeddings of --data are kept here"
    cli.add_folder(parser, "--work", EMBEDDINGS, Use.WRITE, default="build/evaluations", help=text)
    text = "output of the crop stage"
    cli.add_folder(parser, "--crops", EMBEDDINGS, default="build/crop", help=text)
    for name, default, what in (
        ("--split", "build/split/faces.parquet", "output of the split stage"),
        ("--manifest", "build/validate/manifest.parquet", "output of the validate stage"),
        ("--params", "params.yaml", "parameter file; with --data it may be absent"),
    ):
        text = f"{what} (default: %(default)s)"
        parser.add_argument(name, type=Path, metavar="FILE", default=Path(default), help=text)
    cli.add_threads(parser)


def _evaluate(args: argparse.Namespace) -> int:
    """Score a model by a protocol on labelled photos.

    Score a release, or an embedder made elsewhere (a folder with embedder.onnx and adapter.json).
    Without --data: all protocols on the pipeline's own test people. With --data: one protocol on a
    folder of photos/<person>/<photo>. Faces are found and embedded once and kept in the work
    folder; an interrupted run goes on from there. Name several bundles to see them side by side, or
    several sets of photos to see in which one the most strangers are named.
    """
    args.protocol = args.protocol or ("all" if args.data else PIPELINE)
    if (args.protocol == PIPELINE) == (args.data is not None):
        wanted = "takes no --data" if args.data else "needs --data DIR, a folder of labelled photos"
        raise UsageError(f"the protocol {args.protocol} {wanted}.")
    for name in ("people", "lists"):
        if args.data is None and getattr(args, name) is not None:
            raise UsageError(f"--{name} needs --data DIR, a folder of labelled photos.")
    bundles = args.bundle or [Path("build/export")]
    if args.out and len(bundles) > 1:
        raise UsageError("--out takes one --bundle; evaluate the others separately.")
    for bundle in bundles:
        cli.require_folder(bundle, cli.NO_FOLDER)
    if args.data is None:
        measured = {str(bundle): _on_pipeline(bundle, args) for bundle in bundles}
    elif len(args.data) == 1:
        measured = {str(bundle): _on_data(bundle, args)[0] for bundle in bundles}
    else:
        names = _set_names(args.data)
        measured = {
            f"{bundle} on {name}" if len(bundles) > 1 else name: figures
            for bundle in bundles
            for name, figures in zip(names, _on_data(bundle, args), strict=True)
        }
    figures = list(measured.values())
    if not args.json:
        print("\n".join(figures_table(list(measured), figures)))
        return 0
    content: Any = {"sets": measured} if args.data and len(args.data) > 1 else {"bundles": figures}
    print(json.dumps(figures[0] if len(figures) == 1 else content, indent=2, sort_keys=True))
    return 0


def _set_names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each of `folders`, which is also that of its folder below --out."""
    names = [str(folder).strip("./").replace("/", "_") or "photos" for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError(
            "two --data name one folder, or folders of one name; give each set of photos once, "
            "each in a folder with a name of its own."
        )
    return names


def _on_pipeline(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from faceops.config.params_file import read_params
    from faceops.release.evaluate.evaluate import embed_test_people, evaluate_test_people
    from faceops.release.evaluate.measured_model import open_model
    from faceops.release.evaluate.report import write_report
    from faceops.verification.embedded_faces import photo_sources

    params = read_params(args.params)
    if args.slices is not None:
        settings = params.evaluate.model_copy(update={"slices": str(args.slices)})
        params = params.model_copy(update={"evaluate": settings})
    model = open_model(folder, args.threads, args.precision)
    crops = args.crops / "crops.npy" if args.crops.is_dir() else args.crops
    faces = embed_test_people(model, crops, args.split)
    sources = photo_sources(args.manifest, faces.paths) if args.manifest.is_file() else None
    result = evaluate_test_people(model, faces, params, Path("data"), args.threads, sources)
    if args.out is not None:
        # First: it marks the folder as an evaluation.
        write_json(args.out / "evaluation.json", result.figures)
        write_report(args.out, result, params.evaluate)
    return result.figures


def _on_data(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    from faceops.config.params_file import read_params
    from faceops.config.sections import Params
    from faceops.dataset.data_folder import local_copy
    from faceops.dataset.names import read_people_list
    from faceops.release.evaluate.evaluate import FolderRequest, evaluate_folders
    from faceops.release.evaluate.measured_model import open_model
    from faceops.release.evaluate.report import write_report

    names = _set_names(args.data)
    requests = {
        name: FolderRequest(
            data=local_copy(data, args.work),
            protocol=args.protocol,
            people=None if args.people is None else read_people_list(args.people),
            lists=args.lists,
            slices=args.slices,
            split=args.split,
            work=args.work,
        )
        for name, data in zip(names, args.data, strict=True)
    }
    has_defaults = args.params == cli.PARAMS and not args.params.exists()
    params = Params() if has_defaults else read_params(args.params)
    model = open_model(folder, args.threads, args.precision)
    done = evaluate_folders(model, requests, params, args.threads)
    figures = [one.result.figures for one in done]
    if args.out is None:
        return figures
    if len(done) > 1:
        write_json(args.out / "evaluation.json", {"sets": dict(zip(names, figures, strict=True))})
    for name, one in zip(names, done, strict=True):
        out = args.out if len(done) == 1 else args.out / name
        write_json(out / "evaluation.json", one.result.figures)
        write_report(out, one.result, params.evaluate)
        one.photos.write(out / "photos.csv", one.seen.split or {})
    return figures


def figures_table(names: Sequence[str], figures: Sequence[dict[str, Any]]) -> list[str]:
    """Return lines: a row for each figure, a column for each model, then notes in words."""
    tables = [
        {name: _cell(value, of) for name, value, of in _leaves(one) if not isinstance(value, str)}
        for one in figures
    ]
    rows = list(dict.fromkeys(name for table in tables for name in table))
    first = max(len(row) for row in rows)
    columns = [
        [name, *(table.get(row, "-") for row in rows)]
        for name, table in zip(names, tables, strict=True)
    ]
    lines = []
    for row, *cells in zip(["", *rows], *columns, strict=True):
        aligned = (f"{c:>{max(map(len, col))}}" for c, col in zip(cells, columns, strict=True))
        lines.append(f"{row:<{first}}  {'  '.join(aligned)}")
    folders: dict[str, Any] = {}
    for data in (one["data"] for one in figures if "data" in one):
        folders.setdefault(data["folder"], data)
    for data in folders.values():
        lines += ["", *_data_lines(data)]
    compared = {
        one.get("bundle", ""): one["populations"] for one in figures if "populations" in one
    }
    for bundle, rows in compared.items():
        lines += ["", *population_lines(f"{bundle} " if len(compared) > 1 else "", rows)]
    notes = dict.fromkeys(note for one in figures for note in _notes(one))
    return [*lines, *(["", *notes] if notes else [])]


def _data_lines(data: dict[str, Any]) -> list[str]:
    rejected = ", ".join(f"{count} {reason}" for reason, count in data["without_face"].items())
    counts = (
        f"{data['folder']}: {data['photos']} photos of {data['people']} people, "
        f"{data['faces']} faces"
    )
    return [counts + (f"; without: {rejected}" if rejected else ""), data["seen"]["told"]]


def population_lines(model: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the promise by population; the worst is marked."""
    lines = [f"{model}strangers named, by population:"]
    for row in rows:
        line = f"{row['name']}: {row['people']} people, {row['photos']} photos"
        if "reason" in row:
            lines.append(f"{line}: {row['reason']}")
            continue
        known = "" if row["dir"] is None else f"; known people named rightly {_number(row['dir'])}"
        lines.append(
            f"{line}: {_cell(row['fpir'], row['fpir_interval'])} at a budget of "
            f"{row['budget']:g}, {row['verdict']}{known}{', the worst' if row['worst'] else ''}"
        )
    return lines


def _leaves(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name, value and interval of every figure."""
    for name, value in figures.items():
        if name.endswith("_interval") or (not prefix and name in _NOT_FIGURES):
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, row in enumerate(value):
                which = row.get("alteration", str(number))
                yield from _leaves(row, f"{prefix}{name}.{which}.")
        else:
            yield f"{prefix}{name}", value, figures.get(f"{name}_interval")


def _cell(value: Any, interval: dict[str, float | None] | None) -> str:
    if not interval or interval["low"] is None:
        return _number(value)
    return f"{_number(value)} ({interval['low']:.4f} to {interval['high']:.4f})"


def _notes(figures: dict[str, Any]) -> Iterator[str]:
    for name, value, _ in _leaves(figures):
        if isinstance(value, str) and value and not name.endswith(".alteration"):
            yield f"{name}: {value}"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2g}"
    return ", ".join(_number(v) for v in value) if isinstance(value, list) else str(value)
