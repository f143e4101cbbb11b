"""People who are not enrolled: groups of unknown faces."""
