"""The end of an experiment's command: exit codes, and one sentence for what a user can mend."""

from collections.abc import Callable

from faceops.stages import run_or_tell


def run_experiment(main: Callable[[], None]) -> None:
    """Run `main`, which continues from its --out."""
    run_or_tell(main, "interrupted; the same command with the same --out goes on from here")
