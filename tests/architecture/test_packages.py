"""The import order of the packages, and the modules that a batch run must not load."""

import ast
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

# In the order in which a photo passes through them; a package imports only from packages above it.
PACKAGES = (
    *("base", "config", "weights", "photos", "dataset", "faces"),
    *("embedding", "verification", "evaluation", "release", "registry", "gate"),
    *("gallery", "identification", "review", "serving", "stages", "cli"),
)
# A batch run starts fast and runs on ONNX Runtime alone.
HEAVY = (
    *("torch", "torchvision", "mlflow", "great_expectations"),
    *("pandas", "sklearn", "matplotlib", "onnx", "model_signing", "cryptography"),
)

NAMING = (  # modules that naming people imports
    *("faceops.identification.run", "faceops.gallery.enrol", "faceops.review.album"),
    *("faceops.release.bundle", "faceops.serving", "faceops.cli"),
)


@cache
def imported_names(path: Path, types: bool = True) -> frozenset[str]:
    """Return the dotted names that a file imports, at its top or inside functions.

    With `types` those for type checkers too.
    """
    names = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            continue
        nodes += ast.iter_child_nodes(node)
    return frozenset(names)


def imported_packages(path: Path) -> set[str]:
    """Return the packages of faceops that a file imports."""
    parts = [name.split(".") for name in imported_names(path)]
    return {part[1] for part in parts if part[0] == "faceops" and len(part) > 1}


def test_every_package_is_in_the_order(repository):
    found = {path.stem for path in (repository / "src/faceops").iterdir()}
    assert found - {"__init__", "__pycache__", "py"} == set(PACKAGES)  # py.typed


def test_one_module_imports_faiss(repository):
    source = repository / "src/faceops"
    own = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "faiss" in {name.partition(".")[0] for name in imported_names(path)}
    }
    assert own == {"base/nearest.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_from_packages_above_it(repository, package):
    base = repository / "src/faceops"
    files = sorted((base / package).rglob("*.py")) or [base / f"{package}.py"]
    allowed = set(PACKAGES[: PACKAGES.index(package) + 1])
    below = {str(path.relative_to(base)): imported_packages(path) - allowed for path in files}
    assert {path: packages for path, packages in below.items() if packages - {"__version__"}} == {}


def test_modules_do_not_import_each_other(repository):
    package = repository / "src/faceops"

    def file_of(name: str) -> Path:
        path = package.parent.joinpath(*name.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    files = set(package.rglob("*.py"))
    graph = {
        file: {file_of(name) for name in imported_names(file, types=False)} & files
        for file in files
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " imports ".join(str(file.relative_to(package)) for file in error.args[1])
        pytest.fail(circle)


def test_naming_people_loads_no_training_library():
    code = f"""
import importlib, sys
for module in {NAMING!r}:
    importlib.import_module(module)
    print(*[f"{{module}} loads {{name}};" for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_mypy_reads_every_module_that_is_imported(repository):
    settings = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    modules = {one.get("follow_imports"): one["module"] for one in settings["overrides"]}
    paths = [path for folder in ("src", "flows") for path in (repository / folder).rglob("*.py")]
    names = {f"{name}." for path in paths for name in imported_names(path)}
    skipped = {one for one in names if one.startswith(tuple(x[:-1] for x in modules["skip"]))}
    assert skipped
    assert {one for one in skipped if not one.startswith(tuple(modules["normal"]))} == set()
