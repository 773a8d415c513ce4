"""Protects: replicas are asked for in words that are understood; a cluster that is not there is missed in seconds."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from click.testing import CliRunner

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import UsageError
from spectui.decoding.replicas import devices
from spectui.decoding.replicas.devices import (
    check_address,
    check_config,
    local_devices,
    read_count,
    threads_each,
)
from spectui.tui.cli import main


@pytest.mark.parametrize(("text", "count"), [("auto", None), ("1", 1), ("8", 8)])
def test_a_number_or_auto(text: str, count: int | None) -> None:
    assert read_count(text) == count


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "9999999", "²"])
def test_nothing_else(text: str) -> None:
    with pytest.raises(UsageError, match="give a number from 1 to 1024, or auto"):
        read_count(text)


def test_each_gpu_that_is_visible_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8f")
    assert local_devices(RunConfig(), None) == ["2", "GPU-8f"]
    assert local_devices(RunConfig(), 1) == ["2"]
    with pytest.raises(UsageError, match=r"--replicas 3: this machine has 2 usable GPUs"):
        local_devices(RunConfig(), 3)
    assert local_devices(RunConfig(device="cpu"), 3) == ["", "", ""]


def test_without_gpus_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert local_devices(RunConfig(), 4) == [""] * 4
    with pytest.raises(
        UsageError, match=r"--replicas 33: this machine has 8 cores; ask for at most 32, or for auto"
    ):
        local_devices(RunConfig(), 33)
    assert threads_each(4) == {"OMP_NUM_THREADS": "2"}
    assert threads_each(16) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_each(4) == {}
    with pytest.raises(UsageError, match="this machine has 0 usable GPUs"):
        local_devices(RunConfig(device="cuda"), 2)


def test_one_gpu_is_not_shared() -> None:
    with pytest.raises(UsageError, match="--device cuda:1 names one GPU"):
        check_config(RunConfig(device="cuda:1"))


@pytest.mark.parametrize(
    "address", ["here", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000", ":6379", "a:b"]
)
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(UsageError, match=r"give the address of a cluster's head"):
        check_address(address)


def test_a_cluster_that_is_not_there_is_missed_at_once_and_nothing_is_recorded(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("SPECTUI_DB", f"{tmp_path}/runs.db")
        begun = time.monotonic()
        done = CliRunner().invoke(main, ["run", "--ray", address, "--per-task", "1"])
    assert time.monotonic() - begun < 10
    assert done.exit_code == 2
    assert f"--ray {address}: nothing answers there" in done.output


@pytest.mark.parametrize(
    ("answer", "is_ray"),
    [
        (b"\0\0\x18\4\0\0\0\0\0\0\3\x7f", True),  # the beginning of Ray 2.60's
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
    ],
    ids=["Ray", "a web server", "silence"],
)
def test_what_answers_is_a_ray_or_no_cluster(
    answer: bytes, is_ray: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would ask a web server for minutes."""
    monkeypatch.setattr(devices, "PROBE_SECONDS", 0.5)

    def serve() -> None:
        connection, _ = server.accept()
        connection.sendall(answer)
        with connection, contextlib.suppress(ConnectionError):
            while connection.recv(1 << 10):  # until the other side has had enough
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if is_ray:
            assert check_address(address)[0] == "127.0.0.1"
        else:
            with pytest.raises(UsageError, match="what answers there is no Ray"):
                check_address(address)
        thread.join()
