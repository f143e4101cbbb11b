"""Read and write params.yaml: typed, with a sentence for each mistake."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.sections import Params


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name an existing parameter file.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = str(error).splitlines()[0]
        raise UsageError(f"{path} is not readable YAML ({where}); mend or replace it.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold sections of keys, not a {type(content).__name__}.")
    return content


def _checked(content: dict[str, Any], path: Path) -> Params:
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        value = "" if first["type"] == "missing" else f" = {first['input']!r}"
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{path}: there is no parameter {key}; remove or rename it.") from None
        raise UsageError(f"{path}: {key}{value} is wrong: {first['msg']}.") from None


def read_params(path: Path) -> Params:
    """Return the parameters in the file `path`; keys that it leaves out have their defaults.

    Raises:
        UsageError: no such file, no YAML, an unknown key, or a value of the wrong type or range.
    """
    return _checked(_mapping(path), path)


def experiment_file(root: Path, name: str) -> Path:
    """Return the override file that `name` means: a path, or a name in `root`/experiments.

    Raises:
        UsageError: there is neither.
    """
    for path in (Path(name), root / "experiments" / f"{name}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in (root / "experiments").glob("*.yaml")))
    known = known or "(none: this is not the root of the repository)"
    raise UsageError(f"there is no experiment {name!r}; name a YAML file or one of: {known}.")


def _line(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).strip()
    return text.removesuffix("...").strip()


def write_params(params: Params, path: Path) -> None:
    """Write every key of `params` with its description as a comment, atomically."""
    lines = ["# Written by `faceops params use`; the types are in src/faceops/config/sections.py."]
    for name, section in params:
        assert isinstance(section, BaseModel)
        lines += ["", f"{name.removesuffix('_')}:  # {(section.__doc__ or '').splitlines()[0]}"]
        for key, field in type(section).model_fields.items():
            lines.append(f"  {key}: {_line(getattr(section, key))}  # {field.description}")
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise FaceOpsError(f"{path} cannot be written ({error.strerror}); mend that.") from None
