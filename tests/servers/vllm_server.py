"""A real vLLM server on the embedded model, from an environment of its own, which ``make test-vllm`` makes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from spectui.decoding.checkpoints import embedded
from spectui.decoding.drafters.registry import EMBEDDED_HEAD
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from tests.waiting import until

PYTHON = os.environ.get("SPECTUI_VLLM", "")
"""The interpreter that has vLLM; "" where there is none."""
DRAFTED = 3
START_SECONDS = 400
MODEL = "smol"


METHODS: dict[str, Callable[[], dict[str, Any]]] = {
    "eagle3": lambda: {"model": str(EMBEDDED_HEAD)},
    "ngram": lambda: {"prompt_lookup_min": 2, "prompt_lookup_max": 4},
    "draft_model": lambda: {"model": str(embedded.ensure())},
}
"""Names of drafting methods -> what vLLM's ``--speculative-config`` has of each."""


class VllmServer:
    """A server that listens on this machine alone; a context, which ends it. Without a `method` it does not draft.

    Variables of the environment and arguments come on top; `within` is a command that runs the server.
    """

    def __init__(
        self,
        log: Path,
        method: str = "",
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        drafting = []
        if method:
            settings = {"method": method, "num_speculative_tokens": DRAFTED, **METHODS[method]()}
            drafting = ["--speculative-config", json.dumps(settings)]
        details = ["--per-request-spec-decode-metrics", "detailed"] if method else []
        command = [
            # The wheel's own `vllm serve` asks for the metadata of a distribution of another name.
            *within, PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(embedded.ensure()),
            "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
            "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager", *drafting, *details, *arguments,
        ]  # fmt: skip
        cpu = {
            "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0",
            "VLLM_HOST_IP": "127.0.0.1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        with log.open("w") as out:
            self._process = subprocess.Popen(
                command,
                env=os.environ | cpu | dict(environment or {}),
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=log.parent,
            )
        self._log = log

    def __enter__(self) -> Self:
        try:
            until(self._answers, seconds=START_SECONDS)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End its processes, of which it has three."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        try:
            with Client(self.address) as client:
                client.json("/v1/models")
        except ServerError:
            time.sleep(0.5)
            return False
        return True
