"""Who listens on a port of this machine."""

import errno
import socket

import psutil

from faceops.base.errors import FaceOpsError


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there.

    Raises:
        FaceOpsError: this user may not listen there at all.
    """
    with socket.socket() as one:
        # As servers do: a connection of a server that ended a moment ago does not count.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise FaceOpsError(
                f"port {port} cannot be used ({error.strerror}); choose another."
            ) from None
    return True


def holder_of(port: int) -> str:
    """Return the pid and command of who listens on `port`, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                if connection.pid is None:
                    break
                words = psutil.Process(connection.pid).cmdline()
                return f"pid {connection.pid}, {' '.join(words)[:80]}"
    except psutil.Error:
        pass  # on macOS only root may ask
    return "another program"
