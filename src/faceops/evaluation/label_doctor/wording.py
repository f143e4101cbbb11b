"""The evidence in words."""

from faceops.evaluation.label_doctor.compared import Compared


def log_odds(value: float) -> str:
    """Return "log odds -4.2"."""
    return f"log odds {value:+.1f}"


def photos(count: int) -> str:
    """Return "the only photo", "the 2 photos", ..."""
    return "the only photo" if count == 1 else f"the {count} photos"


def like(compared: Compared, group: int) -> str:
    """Return "; like ..." where the group is like another person, "" else."""
    if not compared.suggested(group):
        return ""
    near = int(compared.nearest[group])
    count = int(compared.groups.size[near])
    return f"; like {photos(count)} of {compared.name(near)} ({log_odds(compared.likeness[group])})"
