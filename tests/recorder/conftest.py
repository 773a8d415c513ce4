"""A recorder over the small server, and what it wrote."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spectui.recorder.settings import Settings
from spectui.recorder.sink import Sink
from spectui.recorder.vllm import verdicts
from spectui.recorder.vllm.drafts import Drafts
from spectui.recorder.vllm.scheduler import Commits
from spectui.recorder.vllm.verdicts import Rank, VerdictsV1, VerdictsV2
from tests.recorder.fake_vllm import Server, modules
from tests.recorder.records import Records


@dataclass
class Recorder:
    """A server with a recorder in it."""

    server: Server
    modules: dict[str, Any]
    engine: Sink
    worker: Sink
    folder: Path
    closed: bool = False

    def close(self) -> None:
        """Write what waits."""
        if not self.closed:
            self.closed = True
            for sink in (self.engine, self.worker):
                if sink.begun:
                    sink.close()

    @property
    def records(self) -> Records:
        """The rows that were written."""
        self.close()
        return Records(self.folder)

    def counts(self, sink: Sink) -> dict[str, Any]:
        self.close()
        return sink._counts()


Make = Callable[..., Recorder]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a server of a version of vLLM with a recorder of some settings in it."""
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.0"))
    monkeypatch.setattr(verdicts, "is_recording_rank", lambda: True)
    made: list[Recorder] = []

    def build(
        version: str = "0.33.0", changed: str = "", settings: dict[str, Any] | None = None, **server: bool
    ) -> Recorder:
        folder = tmp_path / f"recorded-{len(made)}"
        chosen = replace(Settings(str(folder), run="abc"), **(settings or {}))
        log = logging.getLogger("vllm.spectui")
        engine, worker = Sink(chosen, "engine", "vllm", log), Sink(chosen, "worker", "vllm", log)
        everything = modules(version, changed)
        Commits(engine).change(everything["vllm.v1.core.sched.scheduler"])
        rank = Rank(worker)
        drafts = Drafts(worker, rank) if chosen.draft else None
        VerdictsV1(worker, rank, drafts).change(everything["vllm.v1.worker.gpu_model_runner"])
        of_v2 = VerdictsV2(worker, rank)
        of_v2.change(everything["vllm.v1.worker.gpu.spec_decode.rejection_sampler"])
        of_v2.change_sharing(everything["vllm.v1.worker.gpu.sample.batch_shard"])
        if drafts:
            drafts.change(everything["vllm.v1.spec_decode.llm_base_proposer"])
        made.append(Recorder(Server(everything, **server), everything, engine, worker, folder))
        return made[-1]

    yield build
    for recorder in made:
        recorder.close()
