"""Whole runs of the real worker: every kind of draft, every way to sample, static and dynamic trees, both paths.

Protects: each prompt of each of them ends as it should. Parts that are all right alone have failed together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import DRAFT_MODEL, KINDS
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from tests.decoding.drafters.toy_entry import TOY
from tests.decoding.worker.matrix import CASES, CONTEXT, DRAFTS, NEW_TOKENS, SAMPLINGS, Case, make
from tests.decoding.worker.workers import CONTEXT as PROCESSES
from tests.decoding.worker.workers import run_worker, set_apart

UNBROKEN, BROKEN = "0", "1"
"""Values of SPECTUI_STATIC: the run of the growing path goes through, that of fixed sizes is stopped and resumed."""
AT_ONCE = 25
"""Tokens that a run to be stopped may make at once: some two prompts."""
EXPECTED_EVENTS = {"draft", "limit", "resumed", "settings"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    process = PROCESSES.Process(target=make, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return folder


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, TOY.name, TOY)


def test_every_kind_of_draft_is_in_the_table() -> None:
    assert {kind.covers.name for kind in DRAFTS.values()} == {*KINDS, DRAFT_MODEL.name}


@pytest.mark.parametrize("name", CASES)
def test_whole_runs(name: str, models: Path, tmp_path: Path) -> None:
    """Of one draft and tree: prompts that end at once, near the context's end, beyond the draft's; stopped, resumed."""
    case, known = CASES[name], json.loads((models / "expected.json").read_text())
    database = tmp_path / "runs.db"
    db = connect(database)
    prompts = [PromptRecord(name, "chat", text) for name, text in known["texts"].items()]
    runs = []
    for sampling in case.samplings:
        for static in (UNBROKEN, BROKEN):
            stopped = {"max_tokens": AT_ONCE} if static == BROKEN else {}
            config = RunConfig.from_dict({**case.config(models), **SAMPLINGS[sampling], **stopped})
            session = create_session(
                db, name=f"{sampling}-{static}", config_json=config.to_json(), target="tiny", drafter="",
                tree=config.tree_label, prompts=prompts,
            )  # fmt: skip
            runs.append((session, static))
    process = PROCESSES.Process(target=_work, args=(database, runs, tmp_path / "log"))
    process.start()
    process.join()
    assert process.exitcode == 0, (tmp_path / "log").read_text()
    reader = Reader(db)
    for sampling in case.samplings:
        outputs = [_sound(reader, f"{sampling}-{static}", case) for static in (UNBROKEN, BROKEN)]
        assert outputs[0] == outputs[1]
        if sampling == "greedy" or not case.own_samples:
            assert outputs[0] == known["tokens"][sampling]
    assert check(db) == []
    db.close()


def _work(database: Path, runs: list[tuple[int, str]], log: Path) -> None:
    """Run each session by the worker's own entry point until it has come to its end."""
    set_apart(log)
    KINDS[TOY.name] = TOY
    for session, static in runs:
        arguments = ["--db", str(database), "--session", str(session)]
        for _ in range(9):
            assert run_worker(arguments, {"SPECTUI_MEASURE": "0", "SPECTUI_STATIC": static}) == 0
            db = connect(database, create=False)
            status = Reader(db).session(session).status
            db.close()
            if status != "stopped":
                break


def _sound(reader: Reader, name: str, case: Case) -> dict[str, list[int]]:
    """Tokens by prompt of a session that is as it should be."""
    (session,) = [s for s in reader.sessions() if s.name == name]
    assert session.status == "finished", session.error
    assert session.baseline_ms is not None
    assert session.baseline_ms > 0.0
    events = [event.kind for event in reader.events(session.id)]
    assert set(events) <= EXPECTED_EVENTS, [e.text for e in reader.events(session.id)]
    assert set(case.kind.events) <= set(events)
    assert ("resumed" in events) == name.endswith(BROKEN)
    tokens: dict[str, list[int]] = {}
    for generation in reader.generations(session.id):
        assert (generation.status, generation.error) == ("finished", None)
        rounds = reader.rounds(generation.id)
        made = tokens[generation.prompt_id] = [t for round_ in rounds for t in round_.emitted]
        reasons: dict[str, Any] = {"ends at once": "eos", "near the end": "context"}
        expected = reasons.get(generation.prompt_id, generation.finish_reason)
        assert generation.finish_reason == expected, generation
        assert generation.prompt_tokens is not None
        full = min(NEW_TOKENS, CONTEXT - generation.prompt_tokens)
        assert len(made) == full or (generation.finish_reason == "eos" and len(made) < full)
    return tokens
