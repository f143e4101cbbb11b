"""The parameters of an experiment: the defaults, an overlay, and single keys on top."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from faceops.base.errors import UsageError
from faceops.config import Params, experiment_file, read_params

ROOT = Path(__file__).parent.parent.parent


def read_settings(overlay: str, changes: Sequence[str], out: Path) -> Params:
    """Return the defaults with the file `overlay` (a name in experiments/, or a path) over them.

    `changes` are texts `section.key=value`, the value as in YAML. The overlay with its changes is
    left in `out`/params.yaml, which `faceops params use` takes.

    Raises:
        UsageError: no such overlay, no such key, a wrong value.
    """
    content = yaml.safe_load(experiment_file(ROOT, overlay).read_text(encoding="utf-8")) or {}
    for change in changes:
        name, equals, value = change.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and key):
            raise UsageError(f"--set takes section.key=value, such as train.seed=8, not {change}.")
        content.setdefault(section, {})[key] = yaml.safe_load(value)
    out.mkdir(parents=True, exist_ok=True)
    (out / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_params(out / "params.yaml")
