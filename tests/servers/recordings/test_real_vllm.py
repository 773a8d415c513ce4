"""A real vLLM with our recorder, watched and run on: its session is its answers. ``make test-vllm``; minutes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spectui.servers.recordings.importer import Importer
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from tests.recorder.test_real_vllm import PROMPTS, ask, counted, install
from tests.servers.sessions import new_session, work
from tests.servers.vllm_server import DRAFTED, PYTHON, VllmServer
from tests.waiting import until

pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="vLLM has an environment of its own: make test-vllm"),
    pytest.mark.timeout(1200),
]


def test_a_server_is_watched_and_run_on_at_once(tmp_path: Path) -> None:
    """Requests of several clients become the session of its start; a run finds the recorder by itself."""
    folder, watched, run = tmp_path / "recorded", tmp_path / "watched.db", tmp_path / "run.db"
    folder.mkdir()
    environment = {"SPECTUI_VLLM_DIR": str(folder), "PYTHONPATH": str(install(tmp_path))}
    with Importer(folder, watched) as importer:
        with VllmServer(tmp_path / "vllm.log", "eagle3", environment=environment) as server:
            before = counted(server.address)
            with ThreadPoolExecutor(3) as clients:
                asked = [
                    clients.submit(ask, server.address, prompt.id, prompt.text, prompt.task)
                    for prompt in PROMPTS
                ]
                answers = {prompt.id: each.result() for prompt, each in zip(PROMPTS, asked, strict=True)}
            after = counted(server.address)
            texts = [(prompt.task, prompt.text) for prompt in PROMPTS[:2]]
            session = new_session(run, server.address, texts, max_new_tokens=24)
            assert work(run, session) == 0
        until(lambda: importer.newest is not None)  # killed by now
        until(lambda: _finished(watched))

    with Reader(run) as reader:
        summary = reader.session(session)
        assert (summary.source, summary.tree, summary.drafter) == (
            "vLLM recorder",
            f"chain:{DRAFTED}",
            "eagle3",
        )
        assert summary.nodes == summary.rounds * DRAFTED > 0
        assert summary.greedy_rounds == summary.explained_rounds == summary.rounds
    with Reader(watched) as reader:
        (start,) = reader.sessions()
        assert start.greedy_rounds == start.explained_rounds == start.rounds
        rows = {row.prompt_id: row for row in reader.generations(start.id)}
        drafts = accepted = 0
        for prompt in PROMPTS:
            row, answer = rows[prompt.id], answers[prompt.id]
            rounds = reader.rounds(row.id)
            emitted = [token for each in rounds for token in each.emitted]
            assert [row.first_token_id, *emitted] == answer["choices"][0]["token_ids"]
            assert row.task == prompt.task
            assert row.output == answer["choices"][0]["message"]["content"]
            drafts += sum(bool(each.nodes) for each in rounds)
            accepted += sum(each.accepted_length for each in rounds)
        assert drafts == (after.drafts or 0) - (before.drafts or 0)
        # The server counts what was accepted beyond the end of an answer, too.
        assert 0 <= (after.accepted or 0) - (before.accepted or 0) - accepted <= len(PROMPTS) * DRAFTED
    for database in (run, watched):
        db = connect(database)
        assert check(db) == []
        db.close()


def _finished(database: Path) -> bool:
    with Reader(database) as reader:
        return [session.status for session in reader.sessions()] == ["finished"]
