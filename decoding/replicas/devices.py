"""The number of replicas on this machine, and the device of each."""

from __future__ import annotations

import contextlib
import os
import socket
from importlib.util import find_spec

import psutil

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import UsageError
from spectui.decoding.machine.gpu import MachineGpus

AUTO = "auto"
PROBE_SECONDS = 3.0
_FRAME, _SETTINGS = 9, 4
"""Bytes of a frame's head in HTTP/2, on which gRPC is built, and the type of the first one, its fourth byte."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])
"""The first bytes of a client: a fixed text, and settings that change nothing."""
INSTALL_RAY = "pip install 'spectui[ray]'"
MOST = 1024
BYTES_PER_REPLICA = 4 << 30
"""Free memory for each replica on CPUs where their number is `AUTO`."""
MOST_PER_CORE = 4
"""Replicas on CPUs for each core: more of them only wait for each other, and a thousand stop the machine."""


def read_count(text: str) -> int | None:
    """The number that ``--replicas`` names; None for `AUTO`. Raises `UsageError`."""
    if text == AUTO:
        return None
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise UsageError(f"--replicas is '{text}'; give a number from 1 to {MOST}, or {AUTO}")
    return int(text)


def check_config(config: RunConfig) -> None:
    """Raise `UsageError` for a configuration that replicas cannot share."""
    if config.server:
        raise UsageError("--replicas are of models here; for a server use --concurrency")
    if config.device.startswith("cuda:"):
        raise UsageError(
            f"--device {config.device} names one GPU, and replicas have one each; choose them with CUDA_VISIBLE_DEVICES"
        )


def check_address(address: str) -> tuple[str, int]:
    """Host and port of ``--ray HOST:PORT``, where a Ray answers, or what could be one.

    Raises `UsageError`: Ray itself would try for more than a minute.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--ray is '{address}'; give the address of a cluster's head, such as 10.0.0.1:6379")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS) as connection:
            greeted = _greets(connection)
    except OSError as error:
        raise UsageError(
            f"--ray {address}: nothing answers there ({error.strerror or 'no answer'}); "
            "start the cluster with 'ray start --head', or correct the address"
        ) from error
    if not greeted:
        raise UsageError(
            f"--ray {address}: what answers there is no Ray; give the address that 'ray start --head' printed"
        )
    return host, int(port)


def _greets(connection: socket.socket) -> bool:
    """True where the other side begins as gRPC does, with its settings; with TLS that cannot be seen."""
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return True
    connection.sendall(_GREETING)
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while len(answer) < _FRAME and (more := connection.recv(_FRAME - len(answer))):
            answer += more
    return len(answer) == _FRAME and answer[3] == _SETTINGS


def check_ray(address: str) -> None:
    """Raise `UsageError` where Ray, which a cluster takes, is not installed."""
    if find_spec("ray") is None:
        raise UsageError(f"--ray {address} needs Ray: {INSTALL_RAY}")


def visible_gpus() -> list[str]:
    """GPUs that processes of this machine may use, by what ``CUDA_VISIBLE_DEVICES`` calls them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [each.strip() for each in visible.split(",") if each.strip() not in ("", "-1")]
    return [str(index) for index in range(len(MachineGpus().readings()))]


def local_devices(config: RunConfig, count: int | None) -> list[str]:
    """The device of each replica on this machine: a GPU, or "" for the CPU.

    Raises `UsageError` where there are fewer GPUs than replicas are asked for, or far fewer cores.
    """
    gpus = [] if config.device == "cpu" else visible_gpus()
    if gpus:
        if count is not None and count > len(gpus):
            raise UsageError(
                f"--replicas {count}: this machine has {len(gpus)} usable GPUs, and each replica has one to itself; "
                "ask for fewer, or for --device cpu"
            )
        return gpus[: count or len(gpus)]
    if config.device == "cuda":
        raise UsageError("--device cuda: this machine has 0 usable GPUs; use --device cpu or auto")
    if count is not None and count > (most := MOST_PER_CORE * cores()):
        raise UsageError(
            f"--replicas {count}: this machine has {cores()} cores; ask for at most {most}, or for {AUTO}"
        )
    return [""] * (count or cpu_replicas())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_replicas() -> int:
    """Replicas for this machine's cores and free memory."""
    return max(1, min(cores(), int(psutil.virtual_memory().available) // BYTES_PER_REPLICA))


def threads_each(replicas: int) -> dict[str, str]:
    """Environment that shares the cores out among replicas on CPUs; nothing where the user has said how many."""
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, cores() // replicas))}
