"""A cluster of Ray with two nodes on this machine, each in a network namespace of its own; needs root and `ip`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

RAY = "from ray.scripts.scripts import main; main()"
NODES = {"first": "10.77.0.1", "second": "10.77.0.2"}
PORT = 6379


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def possible() -> str:
    """The reason that there can be no such cluster; "" where there can."""
    if shutil.which("ip") is None or os.getuid() != 0:
        return "network namespaces need root and the command ip"
    name = f"spectui-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (subprocess.CalledProcessError, OSError):
        return "this machine allows no network namespaces"
    return ""


@dataclass
class Cluster:
    """A head and a second node."""

    prefix: str
    environment: Mapping[str, str]
    address: str = f"{NODES['first']}:{PORT}"

    def within(self, node: str) -> list[str]:
        """The beginning of a command that is to be run on a node."""
        return ["ip", "netns", "exec", f"{self.prefix}-{node}"]

    def pids(self, node: str) -> list[int]:
        """All processes of a node."""
        return [int(pid) for pid in _ip("netns", "pids", f"{self.prefix}-{node}").split()]

    def kill(self, node: str) -> None:
        """Kill a node: everything in it at once."""
        for pid in self.pids(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def two_nodes(cpus: int = 1) -> Iterator[Cluster]:
    """The cluster; nothing of it is left afterwards."""
    prefix = f"sp{os.getpid() % 100000}"
    folder = Path(tempfile.mkdtemp(prefix="spray"))
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    cluster = Cluster(prefix, environment)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for node in NODES:
            _ip("netns", "add", f"{prefix}-{node}")
            stack.callback(_ip, "netns", "del", f"{prefix}-{node}")
            stack.callback(cluster.kill, node)
            _ip("-n", f"{prefix}-{node}", "link", "set", "lo", "up")
        _ip("link", "add", f"{prefix}a", "netns", f"{prefix}-first", "type", "veth", "peer", "name",
            f"{prefix}b", "netns", f"{prefix}-second")  # fmt: skip
        for node, device in zip(NODES, (f"{prefix}a", f"{prefix}b"), strict=True):
            _ip("-n", f"{prefix}-{node}", "addr", "add", f"{NODES[node]}/24", "dev", device)
            _ip("-n", f"{prefix}-{node}", "link", "set", device, "up")
        for node, address in NODES.items():
            where = (
                ["--head", f"--port={PORT}", f"--temp-dir={folder}/r", "--include-dashboard=false"]
                if node == "first"
                else [f"--address={cluster.address}"]
            )
            subprocess.run(
                [*cluster.within(node), sys.executable, "-c", RAY, "start", f"--node-ip-address={address}",
                 f"--num-cpus={cpus}", "--disable-usage-stats", "--object-store-memory=80000000", *where],
                env=environment, check=True, capture_output=True, text=True, timeout=180,
            )  # fmt: skip
        yield cluster
