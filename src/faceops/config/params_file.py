"""Read and write params.yaml; each mistake in it is reported as one sentence."""

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from faceops.base.errors import UsageError, first_line
from faceops.base.files import write_file
from faceops.config.sections import Params

# Names of earlier versions. They are refused, with the new name.
RENAMED_KEYS = {
    "train.classifier": "train.head",
    "train.classifier_margin": "train.head_margin",
    "train.classifier_scale": "train.head_scale",
    "train.classifier_weight": "train.head_loss_weight",
    "train.cosface_margin": "train.head_margin",
    "train.cosface_scale": "train.head_scale",
    "train.largest_gradient": "train.grad_clip_norm",
    "train.miner": "train.miners",
    "train.tolerance": "train.min_delta",
    "train.warmup_draws": "train.warmup_sampler",
    "verify.budget": "verify.default_budget",
    "verify.hard_share": "verify.hard_negative_share",
    "verify.search_budgets": "verify.fpir_budgets",
    "quantise.crops": "quantise.calibration_crops",
    "quantise.tar_loss": "quantise.max_tar_loss",
    "evaluate.draws": "evaluate.pair_draws",
    "evaluate.open_sets": "evaluate.open_set_gallery_photos",
    "gate.dir_loss": "gate.max_dir_loss",
    "gate.latency_ratio": "gate.max_latency_ratio",
    "gate.named_loss": "gate.max_named_loss",
    "gate.repeats": "gate.resamples",
    "gate.size_ratio": "gate.max_size_ratio",
    "gate.slice_loss": "gate.max_slice_loss",
    "gate.slice_people": "gate.min_slice_people",
    "gate.tar_loss": "gate.max_tar_loss",
}
RENAMED_VALUES = {
    "train.miners": {name: f"{{{name}: 1.0}}" for name in ("semi_hard", "batch_hard")},
    "train.warmup_sampler": {
        "people": "balanced",
        "photos": "uniform",
        "all_photos": "uniform_all",
    },
}


def _refuse_renamed(content: dict[str, Any], path: Path) -> None:
    """Raise one UsageError that lists all keys and values of `content` that were renamed."""
    renamed = []
    for section, values in content.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            old = f"{section}.{key}"
            new = RENAMED_KEYS.get(old, old)
            if choice := RENAMED_VALUES.get(new, {}).get(str(value)):
                renamed.append(f"{old} = {value} is now {new} = {choice}")
            elif new != old:
                renamed.append(f"{old} is now {new}")
    if renamed:
        what = "it" if len(renamed) == 1 else "them"
        raise UsageError(f"{path}: {', '.join(renamed)}; rename {what}.")


class _Loader(yaml.SafeLoader):
    """Reads 1e-06 as a number, as DVC writes it; YAML 1.1 has 1.0e-06 only."""


_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+$", re.IGNORECASE)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name an existing parameter file.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = first_line(error)
        raise UsageError(f"{path} is not readable YAML ({where}); correct or replace it.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} must contain sections of keys, not a {type(content).__name__}.")
    return content


def read_params(path: Path) -> Params:
    """Return the parameters in the file `path`; a missing key has its default.

    Raises UsageError: the file is missing or not YAML, a key is unknown or was renamed, or a value
    has the wrong type or range.
    """
    content = _mapping(path)
    _refuse_renamed(content, path)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        value = "" if first["type"] == "missing" else f" = {first['input']!r}"
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{path}: there is no parameter {key}; remove or rename it.") from None
        raise UsageError(f"{path}: {key}{value} is wrong: {first['msg']}.") from None


def experiment_file(root: Path, name: str) -> Path:
    """Return the override file `name`: a path, or a name in `root`/experiments.

    Raises:
        UsageError: neither exists.
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
            entry, comment = f"  {key}: {_line(getattr(section, key))}", str(field.description)
            if len(entry) + len(comment) > 94:  # the comment goes above
                lines += [*(f"  # {line}" for line in textwrap.wrap(comment, 96)), entry]
            else:
                lines.append(f"{entry}  # {comment}")
    write_file(path, "\n".join(lines) + "\n")
