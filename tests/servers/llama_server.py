"""A real llama.cpp server on the embedded model, in a process of its own (``python -m tests.servers.llama_server``)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

SELF, NGRAM, SYNTHETIC, PLAIN = "self", "ngram", "synthetic", "plain"
EAGLE = "eagle3"
"""The head that comes with spectui, converted by llama.cpp's own script."""
PENALTY = "penalty"
"""A server whose own default, a repetition penalty, changes what greedy outputs are."""
RATES = [0.8, 0.5, 0.2]
"""Shares of rounds that `SYNTHETIC` accepts up to each position, whatever the models say."""
DRAFTED = 3
ROOT = Path(__file__).parents[2]


class LlamaServer:
    """A server that listens on this machine alone; a context, which ends it."""

    def __init__(
        self,
        model: Path | str,
        drafting: str,
        *,
        port: int = 0,
        slots: int = 1,
        head: Path | str = "",
        threads: int = 1,
    ) -> None:
        # One thread for tests: more would wait for each other by spinning, beside what else the machine does.
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.servers.llama_server",
                str(model),
                drafting,
                str(port),
                str(slots),
                str(head),
                str(threads),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), "the server did not start"

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def main() -> None:
    import xllamacpp as llama  # type: ignore[import-untyped]

    model, drafting, port, slots, head, threads = sys.argv[1:]
    parameters = llama.CommonParams()
    parameters.model.path = model
    parameters.n_ctx = 1024 * int(slots)
    parameters.n_parallel = int(slots)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(port)
    parameters.warmup = False
    parameters.endpoint_metrics = parameters.endpoint_props = True
    parameters.cpuparams.n_threads = int(threads)
    kinds = llama.common_speculative_type
    if drafting in (SELF, SYNTHETIC):
        parameters.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        parameters.speculative.draft.mparams.path = model
        parameters.speculative.draft.n_max = DRAFTED
    if drafting == SYNTHETIC:
        parameters.speculative.synth_rates = RATES
    if drafting == NGRAM:
        parameters.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    if drafting == EAGLE:
        parameters.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_EAGLE3]
        parameters.speculative.draft.mparams.path = head
        parameters.speculative.draft.n_max = DRAFTED
    if drafting == PENALTY:
        parameters.sampling.penalty_repeat = 1.3
    server = llama.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()  # its parent's end is its own


if __name__ == "__main__":
    main()
