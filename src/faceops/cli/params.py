"""`faceops params`: choose a named configuration, or show the present one."""

import argparse
from pathlib import Path
from typing import Any

from faceops.cli.common import add_command, add_group, show

PARAMS = Path("params.yaml")


def add_parser(subparsers: Any) -> None:
    """Add `faceops params` with its actions."""
    actions = add_group(subparsers, "params", help="choose the pipeline's configuration")
    use = add_command(
        actions, "use", _use, help="write params.yaml: the defaults and one override file"
    )
    use.add_argument("experiment", help="a name in experiments/, or a YAML file of overrides")
    add_command(actions, "show", _show, help="check params.yaml and print it")


def _use(args: argparse.Namespace) -> int:
    from faceops.config.params_file import experiment_file, read_params, write_params
    from faceops.embedding.check_params import check_train_params

    path = experiment_file(Path.cwd(), args.experiment)
    params = read_params(path)
    check_train_params(params.train, path)
    write_params(params, PARAMS)
    line = f"{PARAMS} now holds the defaults and {path}; `dvc repro` builds it."
    return show(args, params.model_dump(by_alias=True), line)


def _show(args: argparse.Namespace) -> int:
    from faceops.config.params_file import read_params
    from faceops.embedding.check_params import check_train_params

    params = read_params(PARAMS)
    check_train_params(params.train, PARAMS)
    text = PARAMS.read_text(encoding="utf-8").rstrip("\n")
    return show(args, params.model_dump(by_alias=True), text)
