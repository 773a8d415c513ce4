"""A recorder over the small server, and what it wrote."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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


@dataclass
class Recorder:
    """A server with a recorder in it."""

    server: Server
    modules: dict[str, Any]
    engine: Sink
    worker: Sink
    folder: Path
    closed: bool = False
    rows: dict[str, list[Any]] = field(default_factory=dict)

    def close(self) -> None:
        """Write what waits."""
        if not self.closed:
            self.closed = True
            for sink in (self.engine, self.worker):
                if sink.begun:
                    sink.close()

    def read(self, kind: str) -> list[Any]:
        """Rows of a kind, without it."""
        self.close()
        if not self.rows:
            for file in sorted(self.folder.glob("*.jsonl")):
                for line in file.read_text(encoding="ascii").splitlines():
                    name, *values = json.loads(line)
                    self.rows.setdefault(name, []).append(values)
        return self.rows.get(kind, [])

    def commits(self) -> list[Any]:
        return [commit for _, commits in self.read("step") for commit in commits]

    def verdicts(self) -> list[Any]:
        return [verdict for (verdicts,) in self.read("verify") for verdict in verdicts]

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
        VerdictsV2(worker, rank).change(everything["vllm.v1.worker.gpu.spec_decode.rejection_sampler"])
        if drafts:
            drafts.change(everything["vllm.v1.spec_decode.llm_base_proposer"])
        made.append(Recorder(Server(everything, **server), everything, engine, worker, folder))
        return made[-1]

    yield build
    for recorder in made:
        recorder.close()
