"""Replicas as actors of Ray: on this machine, in a Ray of our own, or in a cluster that somebody else started.

The only module that imports Ray, and only where a run asks for it. Ray starts processes and carries calls to them.
Retries, restarts and the counting of rounds are the dispatcher's: Ray would run a lost call again on a fresh actor
without a word, and rounds would be lost or doubled.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError, one_line
from spectui.decoding.replicas.devices import check_address
from spectui.decoding.replicas.lifeline import die_with_parent
from spectui.decoding.replicas.replica import Replica, answered
from spectui.decoding.replicas.transport import QUICK, Answer, Link
from spectui.decoding.worker.launch import MODEL_PROCESS

OWN = {
    # The one switch that puts every socket of Ray on the loopback interface, read when it is imported; a test looks.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A neighbour that fills the memory would have Ray end a replica that is small.
    "RAY_memory_monitor_refresh_ms": "0",
}
"""Environment of a Ray of our own, beside its token."""
FOLDER = "spectui-ray-"
LONGEST_FOLDER = 40
"""Characters: sockets lie deep in it, and the system takes 107."""
OBJECT_STORE = 80 << 20
"""Bytes; Ray refuses less, and answers of replicas are a few kilobytes."""
PROBE_SECONDS = 5.0
LAST_SECONDS = 3.0
"""Time for processes of Ray to end by themselves."""
_EXPLANATION = 200
"""Characters of what Ray says of a lost actor."""

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
"""Of a cluster, too: its head decides, but this process reports nothing."""


class RayLink:
    """An actor, see `Link`."""

    def __init__(self, engine: RayEngine, actor: Any) -> None:
        self._engine, self.actor = engine, actor
        self.open = True

    def ask(self, method: str, *arguments: Any) -> None:
        """See `Link`."""
        if self.open:
            call = self.actor.answer_quickly if method in QUICK else self.actor.answer
            self._engine.waiting[call.remote(method, arguments)] = (self, method)

    def cut(self) -> None:
        """See `Link`."""
        self.open = False
        with contextlib.suppress(Exception):
            self._engine.ray.kill(self.actor, no_restart=True)


class RayEngine:
    """See `Transport`: actors of a Ray that this process is connected to."""

    name = "ray"

    def __init__(
        self, ray: Any, devices: Sequence[str], options: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        self.ray = ray
        self.devices = devices
        self.waiting: dict[Any, tuple[RayLink, str]] = {}
        quick = ray.method(concurrency_group="quick")

        class Actor:
            """A replica; it never raises, for Ray would wrap what it raises."""

            def __init__(self) -> None:
                die_with_parent()
                self._replica = Replica()

            def answer(self, method: str, arguments: tuple[Any, ...]) -> tuple[Any, str]:
                """Do what is asked, one thing after the other."""
                return answered(self._replica, method, arguments)

            @quick  # type: ignore[untyped-decorator]
            def answer_quickly(self, method: str, arguments: tuple[Any, ...]) -> tuple[Any, str]:
                """Do what is asked beside that."""
                return answered(self._replica, method, arguments)

        self._actor = ray.remote(
            concurrency_groups={"quick": 1}, max_restarts=0, max_task_retries=0, **options
        )(Actor)
        self._options = {"runtime_env": {"env_vars": dict(environment)}} if environment else {}

    def start(self) -> Link:
        """See `Transport`; the actor may wait for its place."""
        try:
            return RayLink(self, self._actor.options(**self._options).remote())
        except Exception as error:
            raise DecodingError(f"Ray starts no replica: {_in_short(error)}") from error

    def wait(self, seconds: float) -> list[Answer]:
        """See `Transport`."""
        self.waiting = {ref: what for ref, what in self.waiting.items() if what[0].open}
        if not self.waiting:
            time.sleep(seconds)
            return []
        ready, _ = self.ray.wait(list(self.waiting), num_returns=1, timeout=seconds)
        if ready:  # others may be, too
            ready, _ = self.ray.wait(list(self.waiting), num_returns=len(self.waiting), timeout=0)
        return [self._answer(ref, *self.waiting.pop(ref)) for ref in ready]

    def _answer(self, ref: Any, link: RayLink, method: str) -> Answer:
        try:
            value, error = self.ray.get(ref)
        except Exception as lost:  # `RayError`, of which some kinds are no `RayActorError`
            return Answer(link, method, lost=_in_short(lost))
        return Answer(link, method, value, error)

    def trouble(self) -> str:
        """See `Transport`."""
        return ""

    def close(self) -> None:
        """See `Transport`."""
        for link in {link for link, _ in self.waiting.values()}:
            link.cut()
        self.waiting.clear()
        with contextlib.suppress(Exception):
            self.ray.shutdown()


class OwnRay(RayEngine):
    """A Ray on this machine for one run. When one of its parts dies Ray itself waits, or ends this process after a
    minute; here the run ends at once, and can be resumed."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._folder = folder
        self._parts = psutil.Process().children(recursive=True)
        self._needed = [part for part in self._parts if _name(part) in ("gcs_server", "raylet")]

    def trouble(self) -> str:
        """See `Transport`."""
        gone = [part for part in self._needed if not _runs(part)]
        return f"Ray's process {gone[0].pid} on this machine has ended" if gone else ""

    def close(self) -> None:
        """See `Transport`; leaves no process and no file."""
        self._parts = [*{*self._parts, *psutil.Process().children(recursive=True)}]
        super().close()
        _, alive = psutil.wait_procs(self._parts, LAST_SECONDS)
        for part in alive:
            with contextlib.suppress(psutil.Error):
                part.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class Cluster(RayEngine):
    """A cluster that goes on when the run is over. Whether its head is there is asked beside the decoding."""

    def __init__(self, address: tuple[str, int], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._address = address
        self._gone = ""
        self._closed = threading.Event()
        threading.Thread(target=self._probe, name="probe-ray", daemon=True).start()

    def trouble(self) -> str:
        """See `Transport`."""
        return self._gone

    def close(self) -> None:
        """See `Transport`; the cluster itself is never stopped."""
        self._closed.set()
        super().close()

    def _probe(self) -> None:
        failed = 0
        while not self._closed.wait(PROBE_SECONDS):
            try:
                socket.create_connection(self._address, PROBE_SECONDS).close()
                failed = 0
            except OSError as error:
                failed += 1
                if failed > 1:
                    host, port = self._address
                    why = error.strerror or "no answer"
                    self._gone = f"the head of the Ray cluster at {host}:{port} is gone ({why})"


def start_here(devices: Sequence[str], environment: Mapping[str, str]) -> RayEngine:
    """A Ray of our own on this machine, with a place for each of `devices`. Raises `DecodingError`."""
    _remove_folders_of_the_dead()
    gpus = [device for device in devices if device]
    os.environ.update(OWN)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.update(environment)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    folder = _private_folder()
    try:
        ray = _connected(
            folder,
            address="local",
            num_cpus=len(devices),
            num_gpus=len(gpus),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            _temp_dir=str(folder / "r"),  # which Ray opens to all, whatever it was
            _system_config={"prestart_worker_first_driver": False},
        )
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DecodingError(f"Ray does not start on this machine: {_in_short(error)}") from error
    return OwnRay(folder, ray, devices, {"num_cpus": 1, "num_gpus": 1 if gpus else 0}, {})


def join_cluster(address: str, config: RunConfig, count: int | None) -> RayEngine:
    """A cluster that answers at an address, with as many replicas as it has GPUs, or nodes without them.

    Raises `DecodingError` where it cannot be joined or has no place for them.
    """
    place = check_address(address)
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        try:
            ray = _connected(Path(folder), address=address)
        except Exception as error:
            raise DecodingError(f"--ray {address}: {_in_short(error)}") from error
    nodes = [node for node in ray.nodes() if node["Alive"]]
    gpus = 0 if config.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
    if config.device == "cuda" and not gpus:
        raise DecodingError(f"--device cuda: the cluster at {address} has no GPUs; use --device cpu or auto")
    count = count or gpus or len(nodes)
    options: dict[str, Any] = {"scheduling_strategy": "SPREAD"}
    if gpus:
        if count > gpus:
            raise DecodingError(
                f"--replicas {count}: the cluster at {address} has {gpus} GPUs; ask for fewer"
            )
        options |= {"num_gpus": 1, "num_cpus": 1}
    else:
        each = min(int(node["Resources"].get("CPU", 0)) for node in nodes) // math.ceil(count / len(nodes))
        if each < 1:
            cpus = int(ray.cluster_resources().get("CPU", 0))
            raise DecodingError(
                f"--replicas {count}: the cluster at {address} has {cpus} CPUs; ask for fewer"
            )
        options |= {"num_gpus": 0, "num_cpus": each}
    environment = {name: value for name, value in os.environ.items() if name == "OMP_NUM_THREADS"}
    return Cluster(place, ray, [address] * count, options, {**MODEL_PROCESS, **environment})


def _connected(folder: Path, **options: Any) -> Any:
    """Ray's module, connected. Its workers look for modules in the working folder of the process that connects: an
    empty one."""
    import ray

    with contextlib.chdir(folder):
        ray.init(
            log_to_driver=False,
            configure_logging=False,
            logging_level="ERROR",
            namespace="spectui",
            **options,
        )
    return ray


def _private_folder() -> Path:
    """A fresh folder that nobody else may look into, around those of Ray, which are open to all."""
    name = f"{FOLDER}{os.getpid()}-"
    place = tempfile.gettempdir()
    if len(place) + len(name) + 11 > LONGEST_FOLDER:
        place = "/tmp"
    return Path(tempfile.mkdtemp(prefix=name, dir=place))


def _remove_folders_of_the_dead() -> None:
    """Remove what runs left that were killed."""
    for place in {tempfile.gettempdir(), "/tmp"}:
        for folder in Path(place).glob(f"{FOLDER}*-*"):
            pid = folder.name.removeprefix(FOLDER).partition("-")[0]
            with contextlib.suppress(OSError):
                ours = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
                if ours and pid.isdecimal() and not psutil.pid_exists(int(pid)):
                    shutil.rmtree(folder, ignore_errors=True)


def _in_short(error: BaseException) -> str:
    """An error of Ray in one line that fits on a screen: its messages are paragraphs."""
    words = one_line(error)
    return words if len(words) <= _EXPLANATION else f"{words[:_EXPLANATION]}…"


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
