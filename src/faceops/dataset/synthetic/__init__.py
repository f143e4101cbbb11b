"""People who do not exist: a data set that needs nobody's photos, the same bytes everywhere."""
