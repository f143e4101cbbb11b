"""`faceops params`: choose a named configuration, or see what is set."""

import argparse
import json
from pathlib import Path

PARAMS = Path("params.yaml")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser("params", help="choose the pipeline's configuration")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    use = actions.add_parser("use", help="write params.yaml: the defaults and one override file")
    use.add_argument("experiment", help="a name in experiments/, or a YAML file of overrides")
    use.add_argument("--json", action="store_true", help="print the parameters as JSON")
    use.set_defaults(run=_use)
    show = actions.add_parser("show", help="check params.yaml and print it")
    show.add_argument("--json", action="store_true", help="print the parameters as JSON")
    show.set_defaults(run=_show)


def _use(args: argparse.Namespace) -> int:
    from faceops.config.params_file import experiment_file, read_params, write_params
    from faceops.embedding.check_params import check_train_params

    path = experiment_file(Path.cwd(), args.experiment)
    params = read_params(path)
    check_train_params(params.train, path)
    write_params(params, PARAMS)
    if args.json:
        print(json.dumps(params.model_dump(by_alias=True), indent=2))
    else:
        print(f"{PARAMS} now holds the defaults and {path}; `dvc repro` builds it.")
    return 0


def _show(args: argparse.Namespace) -> int:
    from faceops.config.params_file import read_params
    from faceops.embedding.check_params import check_train_params

    params = read_params(PARAMS)
    check_train_params(params.train, PARAMS)
    if args.json:
        print(json.dumps(params.model_dump(by_alias=True), indent=2))
    else:
        print(PARAMS.read_text(encoding="utf-8"), end="")
    return 0
