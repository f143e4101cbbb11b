"""The walls of the house: who imports whom, and what a batch run must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# In the order in which a photo passes through them; a room imports only from rooms above it.
ROOMS = (
    *("base", "config", "weights", "photos", "dataset", "faces"),
    *("embedding", "verification", "evaluation", "release"),
    *("gallery", "identification", "serving", "stages", "commands", "cli"),
)
# DESIGN: a batch run starts fast and runs on ONNX Runtime alone.
HEAVY = (
    *("torch", "torchvision", "mlflow", "great_expectations"),
    *("pandas", "sklearn", "matplotlib", "onnx"),
)


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms of faceops that a file imports, at its top or inside functions."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "faceops":
                names = [f"faceops.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "faceops" and len(parts) > 1:
                rooms.add(parts[1])
    return rooms


def test_every_room_is_in_the_order(repository: Path) -> None:
    found = {path.stem for path in (repository / "src/faceops").iterdir()}
    assert found - {"__init__", "__pycache__", "py"} == set(ROOMS)  # py.typed


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_above_it(repository: Path, room: str) -> None:
    base = repository / "src/faceops"
    files = sorted((base / room).rglob("*.py")) or [base / f"{room}.py"]
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    below = {str(path.relative_to(base)): imported_rooms(path) - allowed for path in files}
    assert {path: rooms for path, rooms in below.items() if rooms - {"__version__"}} == {}


@pytest.mark.parametrize(
    "module",
    [
        "faceops.identification.run",
        "faceops.gallery.enrol",
        "faceops.release.bundle",
        "faceops.serving.pyfunc",
        "faceops.cli",
    ],
)
def test_naming_people_loads_no_training_library(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
