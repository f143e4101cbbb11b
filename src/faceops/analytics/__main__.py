"""`eval "$(python -m faceops.analytics)"` turns the analytics off in a shell."""

from faceops.analytics.opt_out import shell_exports

print(shell_exports())
