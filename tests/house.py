"""The size of the code against the limits of the project.

python -m tests.house            # the table; exit code 1 when a limit is exceeded
python -m tests.house --walks    # also the files on three walks, in a tiny repository: minutes
"""

import argparse
import ast
import inspect
import json
import runpy
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import CodeType, FrameType

import faceops

ROOT = Path(__file__).resolve().parent.parent
MAX_PARAMETERS = 7


@dataclass(frozen=True)
class Measure:
    """A figure, the most that it may be, and the aim where the limit is not there yet.

    Limits above their aim are those of today's code: lower them with the code, and raise one only
    in the commit of a new feature that needs it.
    """

    name: str
    value: float
    limit: float
    aim: float | None = None
    shown: str = "{:,.0f}"

    @property
    def exceeded(self) -> bool:
        """Whether the figure is over its limit."""
        return self.value > self.limit

    def __str__(self) -> str:
        value, limit, aim = (
            self.shown.format(figure)
            for figure in (self.value, self.limit, self.limit if self.aim is None else self.aim)
        )
        note = "  exceeded" if self.exceeded else ""
        return f"{self.name:<42}{value:>9}  limit {limit:>7}  aim {aim:>7}{note}"


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below folders of the repository."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def lines(paths: list[Path]) -> int:
    """Return the number of lines, blank ones and comments included."""
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)


def code_lines(text: str, tree: ast.AST) -> set[int]:
    """Return the numbers of the lines that hold code: no blank line, comment or docstring."""
    stripped = map(str.strip, text.splitlines())
    numbers = {n for n, line in enumerate(stripped, 1) if line and not line.startswith("#")}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text and isinstance(node.value.value, str):
            numbers.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return numbers


def import_share(paths: list[Path]) -> float:
    """Return the share of import statements' lines in the code lines, 0 to 1."""
    code = imports = 0
    for path in paths:
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        code += len(code_lines(text, tree))
        imports += sum(
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
    return imports / code


def long_signatures(paths: list[Path]) -> list[str]:
    """Return `file:line name` of the functions with too many parameters, self and cls excepted."""
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = node.args
            names = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            names += [arg.arg for arg in (given.vararg, given.kwarg) if arg]
            if len(set(names) - {"self", "cls"}) > MAX_PARAMETERS:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    return found


def static_measures() -> list[Measure]:
    """Return what the files themselves show."""
    source = python_files("src")
    return [
        Measure("src: files", len(source), 220),
        Measure("src: lines", lines(source), 47_860, aim=26_000),
        Measure("src: import lines in code lines", import_share(source), 0.09, shown="{:.1%}"),
        Measure("tests: lines", lines(python_files("tests")), 33_124, aim=16_000),
        Measure(
            "experiments and benchmarks: lines",
            lines(python_files("experiments", "benchmarks")),
            2_800,
        ),
        Measure("README: bytes", (ROOT / "README.md").stat().st_size, 10_240),
        Measure(
            f"functions with more than {MAX_PARAMETERS} parameters",
            len(long_signatures(python_files("src", "flows"))),
            0,
        ),
    ]


class FileTracer:
    """Notes the files of faceops in which a function runs, in all threads of this process."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._package = str(Path(faceops.__file__).parent)
        self._seen: set[CodeType] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Take one event of `sys.setprofile`."""
        code = frame.f_code
        if event != "call" or code in self._seen:
            return
        # An import alone opens no file, whatever it calls. Bodies of modules and classes run
        # without this flag.
        is_function = code.co_flags & inspect.CO_OPTIMIZED
        is_own = code.co_filename.startswith(self._package)
        if is_own and is_function and self._is_imported(frame):
            return  # it may run again outside of an import
        self._seen.add(code)
        # Every command's parser is built whichever is run.
        if is_own and is_function and not code.co_qualname.startswith("add_parser"):
            self.files.add(code.co_filename)

    @staticmethod
    def _is_imported(frame: FrameType | None) -> bool:
        """Return whether a module of faceops that is being imported called this function."""
        while frame := frame and frame.f_back:
            name = frame.f_globals.get("__name__", "")  # "__main__" of the module that is run
            if frame.f_code.co_name == "<module>" and name.startswith("faceops"):
                return True
        return False


def trace(out: Path, module: str, arguments: list[str]) -> None:
    """Run a module as `python -m` does, and write the files in which a function ran to `out`."""
    tracer = FileTracer()
    sys.argv = [module, *arguments]
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        out.write_text(json.dumps(sorted(tracer.files)), "utf-8")


IDENTIFY = "faceops.cli identify data/album --gallery gallery --bundle build/export --out found"
WALKS = {  # limit of files, aim, and the commands
    "photo to row": (54, 25, [IDENTIFY]),
    "crop to loss": (19, 18, ["faceops.stages.train"]),
    "export to champion": (
        60,
        30,
        ["faceops.stages.export", "faceops.cli release register", "faceops.cli release promote 2"],
    ),
}


def walk_measures() -> Iterator[Measure]:
    """Yield the number of files on each walk, in a tiny copy of the repository."""
    from tests.tiny_repository import PARAMS, make_tiny

    with tempfile.TemporaryDirectory() as folder:
        tiny = make_tiny(ROOT, Path(folder) / "repository")
        tiny.run("faceops", "params", "use", "tiny.yaml")
        tiny.run("dvc", "repro")
        tiny.run("faceops", "release", "register")
        tiny.run("faceops", "enrol", "data/enrol", "--bundle", "build/export")
        # Another evaluation of the same network: a challenger that the gate lets pass.
        other = PARAMS.replace("pairs: 700", "pairs: 600")
        (tiny.root / "other.yaml").write_text(other)
        tiny.run("faceops", "params", "use", "other.yaml")
        for name, (limit, aim, commands) in WALKS.items():
            files: set[str] = set()
            for command in commands:
                if command == "faceops.stages.export":
                    tiny.run("dvc", "repro")
                out = Path(folder) / "trace.json"
                tiny.run(sys.executable, str(ROOT / "tests/house.py"), "--trace", str(out), command)
                files |= set(json.loads(out.read_text("utf-8")))
            yield Measure(f"files on the walk from {name}", len(files), limit, aim)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--walks", action="store_true", help="run the three walks too")
    parser.add_argument("--trace", nargs=2, metavar=("OUT", "COMMAND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trace:
        module, *arguments = args.trace[1].split()
        trace(Path(args.trace[0]), module, arguments)
        return 0
    exceeded = False
    for one in chain(static_measures(), walk_measures() if args.walks else ()):
        exceeded |= one.exceeded
        print(one, flush=True)
    for place in long_signatures(python_files("src", "flows")):
        print(f"  {place}")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
