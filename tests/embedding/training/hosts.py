"""Two hosts on this machine: network namespaces that share a wire, each with its own loopback."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ADDRESSES = ("10.231.7.1", "10.231.7.2")
WIRE = "wire"  # the name of the interface in both


def ip(*words: str) -> None:
    """Run `ip`; skip the test where this user or kernel may not make namespaces."""
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no ip (apt-get install iproute2) to make network namespaces with")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: ip {' '.join(words)}: {error.stderr.strip()}")


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Make two namespaces, yield their names, and remove them."""
    names = (f"faceops{os.getpid()}a", f"faceops{os.getpid()}b")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", WIRE, "netns", names[0], "type", "veth",
           "peer", "name", WIRE, "netns", names[1])  # fmt: skip
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", WIRE)
            for link in ("lo", WIRE):
                ip("-n", name, "link", "set", link, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
