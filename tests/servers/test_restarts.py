"""Protects: rounds of a server that was restarted otherwise, or of two that speculate, are not mixed or compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spectui.store.reading.reader import Reader
from tests.servers.recorded_vllm import RecordedVllm
from tests.servers.scripted import RECORDED, Reply, Route, ScriptedServer, as_json
from tests.servers.sessions import new_session, work


def restarted_vllm(routes: dict[str, Route]) -> dict[str, dict[str, Route]]:
    """By what is not as it was: the routes of the same vLLM, restarted."""

    def shorter(request: dict[str, Any]) -> Reply:
        reply = routes["/v1/chat/completions"](request)
        if request["stream"] or not isinstance(reply.body, bytes):
            return reply
        answer = json.loads(reply.body)
        answer["metrics"]["speculative_decoding"]["num_spec_tokens"] = 2
        return as_json(answer)

    return {
        "its version is '0.33.0', not '0.32.0'": {"/version": lambda _: as_json({"version": "0.33.0"})},
        "its longest draft is '2', not '3'": {"/v1/chat/completions": shorter},
    }


@pytest.mark.parametrize(
    "changed", ["its version is '0.33.0', not '0.32.0'", "its longest draft is '2', not '3'"]
)
def test_a_server_that_was_restarted_otherwise_is_not_gone_on_with(changed: str, tmp_path: Path) -> None:
    vllm, database = RecordedVllm("eagle3"), tmp_path / "runs.db"
    with ScriptedServer(vllm.routes) as server:
        session = new_session(
            database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=64, max_tokens=10
        )
        assert work(database, session) == 0
        server.routes = vllm.routes | restarted_vllm(vllm.routes)[changed]
        assert work(database, session) == 1
        with Reader(database) as reader:
            assert changed in (reader.session(session).error or "")
        assert work(database, session, force=True) == 0


def llama(method: str, stream: bytes) -> dict[str, Route]:
    """A llama.cpp that tells how it drafts of requests that it had."""
    asked = list[bool]()

    def chat(request: dict[str, Any]) -> Reply:
        asked.append(True)
        return Reply(stream, "text/event-stream") if request.get("stream") else as_json({})

    return {
        "/v1/models": lambda _: as_json({"data": [{"id": "m", "owned_by": "llamacpp"}]}),
        "/slots": lambda _: as_json([{"params": {"speculative.types": method} if asked else {}}]),
        "/v1/chat/completions": chat,
    }


def test_a_llama_that_drafts_in_another_way_is_not_gone_on_with(tmp_path: Path) -> None:
    database, stream = tmp_path / "runs.db", (RECORDED / "llamacpp-stream.txt").read_bytes()
    with ScriptedServer(llama("draft-simple", stream)) as server:
        texts = [("a", "one"), ("a", "two")]
        session = new_session(database, server.address, texts, max_new_tokens=24, max_tokens=23)
        assert work(database, session) == 0
        server.routes = llama("none", stream)
        assert work(database, session) == 1
        with Reader(database) as reader:
            summary = reader.session(session)
            assert "its way to draft is 'none', not 'draft-simple'" in (summary.error or "")
            assert summary.drafter == "draft-simple"
        server.routes = llama("draft-simple", stream)
        assert work(database, session) == 0


def test_a_server_that_comes_back_drafting_in_another_way_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectui.servers.worker.session.BACK_OFF_SECONDS", (0.0,))
    database, stream = tmp_path / "runs.db", (RECORDED / "llamacpp-stream.txt").read_bytes()
    before = llama("draft-simple", stream)

    def chat(request: dict[str, Any]) -> Reply:
        if request["messages"][0]["content"] == "two":
            server.routes = llama("none", stream)
            return Reply(b"", status=503)
        return before["/v1/chat/completions"](request)

    with ScriptedServer(before | {"/v1/chat/completions": chat}) as server:
        session = new_session(database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=24)
        assert work(database, session) == 1
    with Reader(database) as reader:
        assert "its way to draft is 'none', not 'draft-simple'" in (reader.session(session).error or "")
        assert reader.unfinished(session) == 1


def test_a_server_that_speculates_is_no_plain_one(tmp_path: Path) -> None:
    vllm, other, database = RecordedVllm("eagle3"), RecordedVllm("ngram"), tmp_path / "runs.db"
    with ScriptedServer(vllm.routes) as server, ScriptedServer(other.routes) as too:
        session = new_session(
            database, server.address, [("a", "one")], max_new_tokens=64, baseline_server=too.address
        )
        assert work(database, session) == 1
    with Reader(database) as reader:
        assert "speculates, too" in (reader.session(session).error or "")
