"""Which run was checked and recorded: a flow that was cut off before it does it later."""

from pathlib import Path

from faceops.base.files import write_file

RECORDED_FILE = ".recorded"


def is_recorded(out: Path, run_id: str) -> bool:
    """Whether `note_recorded` was the last time told of this run."""
    path = out / RECORDED_FILE
    return path.is_file() and path.read_text("utf-8").strip() == run_id


def note_recorded(out: Path, run_id: str) -> None:
    """Note in `out` that the records of the run `run_id` hold and are recorded."""
    write_file(out / RECORDED_FILE, f"{run_id}\n")
