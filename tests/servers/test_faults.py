"""Protects: a server that is slow, gone, or talks rubbish loses nothing of a run, which obeys meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectui.decoding.errors import DecodingError
from spectui.servers.answers.token_texts import TokenTexts
from spectui.servers.client import Client
from spectui.servers.rounds import ServerRound, to_record
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.store.sources import WAITING
from spectui.tui.cli.follow import Follower
from tests.servers.recorded_vllm import PLAIN_PAGE, RecordedVllm
from tests.servers.scripted import RECORDED, Reply, ScriptedServer, as_json, as_stream, silent
from tests.servers.sessions import new_session, work
from tests.store.samples import claimed_writer
from tests.waiting import until


@pytest.mark.parametrize(
    ("broken", "status", "words"),
    [
        # A prompt that the server does not take fails, and the run goes on.
        (lambda _: as_json({"error": "too long"}, 400), ("failed", "finished"), "answers 400: too long"),
        # One that breaks off is asked again.
        (lambda _: as_stream([{"choices": []}], done=False), ("finished", "finished"), ""),
        (lambda _: as_json({"error": "busy"}, 503), ("finished", "finished"), ""),
        # With more tokens than were asked for it is rubbish.
        (
            lambda _: as_stream([{"choices": [{"delta": {"content": "x"}, "token_ids": [1] * 99}]}]),
            ("failed", "finished"),
            "more tokens than it was asked for",
        ),
        (lambda _: as_stream([{"choices": [7]}]), ("failed", "finished"), "no object"),
    ],
    ids=["400", "cut", "503", "too many", "rubbish"],
)
def test_one_bad_answer_costs_one_prompt_at_most(
    broken: Callable[[dict[str, Any]], Reply],
    status: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spectui.servers.worker.session.BACK_OFF_SECONDS", (0.0,) * 3)
    vllm, database = RecordedVllm("eagle3"), tmp_path / "runs.db"
    routes, spoiled = dict(vllm.routes), list[dict[str, Any]]()

    def chat(request: dict[str, Any]) -> Reply:
        if request["stream"] and not spoiled:
            spoiled.append(request)
            return broken(request)
        return vllm.routes["/v1/chat/completions"](request)

    routes["/v1/chat/completions"] = chat
    with ScriptedServer(routes) as server:
        session = new_session(database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=64)
        assert work(database, session) == 0
    with Reader(database) as reader:
        rows = reader.generations(session)
        assert tuple(row.status for row in rows) == status
        assert words in (rows[0].error or "")
        assert (rows[0].error or " ").isprintable()
        assert reader.session(session).status == "finished"


def test_a_fault_between_prompts_costs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters are read before a prompt is asked."""
    monkeypatch.setattr("spectui.servers.worker.session.BACK_OFF_SECONDS", (0.0,) * 3)
    vllm, database = RecordedVllm("eagle3", detailed=False), tmp_path / "runs.db"
    pages = list[int]()

    def metrics(request: dict[str, Any]) -> Reply:
        pages.append(1)
        return as_json({"error": "busy"}, 503) if len(pages) == 2 else vllm.routes["/metrics"](request)

    with ScriptedServer(vllm.routes | {"/metrics": metrics}) as server:
        session = new_session(database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=64)
        assert work(database, session) == 0
    with Reader(database) as reader:
        assert [row.status for row in reader.generations(session)] == ["finished"] * 2
        assert [event.kind for event in reader.events(session)].count("retry") == 1


def test_a_server_that_no_longer_says_how_it_drafts_is_asked_on(tmp_path: Path) -> None:
    """It is asked so after the first prompt, of which llama.cpp says it."""
    database, stream = tmp_path / "runs.db", (RECORDED / "llamacpp-stream.txt").read_bytes()

    def models(_: dict[str, Any]) -> Reply:
        chatting = any(path.endswith("completions") for path, _ in server.asked)
        return as_json({"data": [{"id": "m", "owned_by": "llamacpp"}]}, 503 if chatting else 200)

    with ScriptedServer({
        "/v1/models": models, "/v1/chat/completions": lambda _: Reply(stream, "text/event-stream")
    }) as server:  # fmt: skip
        session = new_session(database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=24)
        assert work(database, session) == 0
    with Reader(database) as reader:
        assert [row.status for row in reader.generations(session)] == ["finished"] * 2


def test_a_run_whose_server_is_gone_ends_with_its_prompts_still_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectui.servers.worker.session.BACK_OFF_SECONDS", (0.0, 0.0))
    vllm, database = RecordedVllm("eagle3"), tmp_path / "runs.db"
    server = ScriptedServer(vllm.routes)

    def chat(request: dict[str, Any]) -> Reply:
        if request["stream"] and vllm._next == 1:
            server.routes = {}
            return Reply(b"", status=503)
        return vllm.routes["/v1/chat/completions"](request)

    server.routes = vllm.routes | {"/v1/chat/completions": chat}
    with server:
        session = new_session(database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=64)
        assert work(database, session) == 1
        with Reader(database) as reader:
            summary = reader.session(session)
            assert (summary.status, reader.unfinished(session)) == ("failed", 1)
            assert "spectui run --resume" in (summary.error or "")
        server.routes = vllm.routes
        assert work(database, session) == 0
        with Reader(database) as reader:
            assert [row.status for row in reader.generations(session)] == ["finished"] * 2


def test_no_end_is_foreseen_while_a_server_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectui.tui.cli.follow.SIGN_OF_LIFE_S", 0.0)
    db, lines = connect(tmp_path / "runs.db"), list[str]()
    writer = claimed_writer(db, ["code", "code"])
    first, _ = writer.pending_generations()
    writer.set_status("running")
    writer.start_generation(first.id)
    writer.record_round(first.id, to_record(1, ServerRound(3, 1, 2)))
    follower = Follower(Reader(db), 1, lines.append)
    for stage in ("decoding", WAITING):
        writer.set_stage(stage)
        for _ in range(2):  # the stage, then a sign of life
            follower.until_end(time.monotonic())
    db.close()
    assert [" ETA " in line for line in lines] == [False, True, False, False]
    assert lines[-1].endswith("waiting for the server")


def test_a_session_goes_on_with_the_server_it_began_with_alone(tmp_path: Path) -> None:
    vllm, database = RecordedVllm("eagle3"), tmp_path / "runs.db"
    with ScriptedServer(vllm.routes) as server:
        session = new_session(
            database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=64, max_tokens=10
        )
        assert work(database, session) == 0  # its limit ends it after the first
        with Reader(database) as reader:
            assert (reader.session(session).status, reader.unfinished(session)) == ("stopped", 1)
        server.routes = vllm.routes | {
            "/v1/models": lambda _: as_json({"data": [{"id": "x", "owned_by": "vllm"}]})
        }
        assert work(database, session) == 1
        with Reader(database) as reader:
            assert "the model is 'x', not 'smol'" in (reader.session(session).error or "")
        assert work(database, session, force=True) == 0
        assert json.dumps(server.asked[-1][1]["model"]) == '"x"'


def test_commands_are_obeyed_while_the_texts_of_tokens_are_asked_for(tmp_path: Path) -> None:
    vllm, database = RecordedVllm("eagle3"), tmp_path / "runs.db"

    def interfere() -> None:
        until(lambda: any(path == "/detokenize" for path, _ in server.asked))
        db = connect(database)
        send_command(db, session, "skip")
        db.close()
        with Reader(database) as reader:
            until(lambda: reader.generations(session)[0].status == "skipped")
        server.routes = vllm.routes

    with ScriptedServer(vllm.routes | {"/detokenize": lambda _: silent()}) as server:
        session = new_session(database, server.address, [("a", "one")], max_new_tokens=64)
        thread = threading.Thread(target=interfere)
        thread.start()
        assert work(database, session) == 0
        thread.join()
    with Reader(database) as reader:
        assert [row.status for row in reader.generations(session)] == ["skipped"]


def test_texts_of_tokens_are_asked_for_again_after_a_fault() -> None:
    codes = [503, 200, 200]

    def detokenize(body: dict[str, Any]) -> Reply:
        return as_json({"prompt": "".join(f" t{token}" for token in body["tokens"])}, codes.pop(0))

    texts = TokenTexts("m")
    with ScriptedServer({"/detokenize": detokenize}) as server, Client(server.address) as client:
        texts.learn(client, [7])
        assert texts.of([7]) is None
        texts.learn(client, [7])
        assert texts.of([7]) == [" t7"]
        server.routes = {}
        for token in range(9):
            texts.learn(client, [token])
    assert len(server.asked) == 4  # without the route none is asked again


@pytest.mark.parametrize("command", ["skip", "stop", "pause"])
def test_commands_are_obeyed_while_a_server_is_silent(command: str, tmp_path: Path) -> None:
    vllm, database = RecordedVllm("eagle3"), tmp_path / "runs.db"
    quiet = list[dict[str, Any]]()

    def chat(request: dict[str, Any]) -> Reply:
        if request["stream"] and not quiet:
            quiet.append(request)
            return silent()
        return vllm.routes["/v1/chat/completions"](request)

    def send(kind: str) -> None:
        db = connect(database)
        send_command(db, session, kind)
        db.close()

    def interfere() -> None:
        with Reader(database) as reader:
            until(lambda: bool(quiet) and reader.session(session).status == "running")
            send(command)
            if command == "pause":
                until(lambda: reader.session(session).status == "paused")
                send("resume")
                send("skip")

    with ScriptedServer(vllm.routes | {"/v1/chat/completions": chat}) as server:
        session = new_session(database, server.address, [("a", "one"), ("a", "two")], max_new_tokens=64)
        thread = threading.Thread(target=interfere)
        thread.start()
        assert work(database, session) == 0
        thread.join()
    with Reader(database) as reader:
        statuses = [row.status for row in reader.generations(session)]
        assert reader.session(session).status == ("stopped" if command == "stop" else "finished")
        assert statuses == (["running", "pending"] if command == "stop" else ["skipped", "finished"])
        assert reader.unfinished(session) == (2 if command == "stop" else 0)


def test_each_prompt_is_asked_on_the_server_without_speculation_too(tmp_path: Path) -> None:
    vllm, database = RecordedVllm("eagle3"), tmp_path / "runs.db"
    plain = RecordedVllm("eagle3", detailed=False)
    with ScriptedServer(vllm.routes) as server, ScriptedServer(plain.routes | PLAIN_PAGE) as without:
        prompts = [("a", "one"), ("a", "two"), ("b", "three")]
        session = new_session(
            database, server.address, prompts, max_new_tokens=64, baseline_server=without.address
        )
        assert work(database, session) == 0
        asked = [body["messages"] for path, body in without.asked if path.endswith("completions")]
    assert [messages[0]["content"] for messages in asked] == ["one", "two", "three"]
    with Reader(database) as reader:
        summary = reader.session(session)
        assert summary.baseline_count == 3
        assert summary.baseline_ms is not None
        assert summary.server is not None
        assert summary.server.baseline_url == without.address


@pytest.mark.parametrize("command", ["skip", "stop"])
def test_commands_are_obeyed_while_the_plain_server_is_silent(command: str, tmp_path: Path) -> None:
    vllm, plain, database = RecordedVllm("eagle3"), RecordedVllm("eagle3"), tmp_path / "runs.db"
    quiet = plain.routes | PLAIN_PAGE | {"/v1/chat/completions": lambda _: silent()}

    def interfere() -> None:
        until(lambda: any(path.endswith("completions") for path, _ in without.asked))
        db = connect(database)
        send_command(db, session, command)
        db.close()

    with ScriptedServer(vllm.routes) as server, ScriptedServer(quiet) as without:
        session = new_session(
            database, server.address, [("a", "one")], max_new_tokens=64, baseline_server=without.address
        )
        thread = threading.Thread(target=interfere)
        thread.start()
        assert work(database, session) == 0
        thread.join()
    with Reader(database) as reader:
        summary = reader.session(session)
        assert summary.status == ("stopped" if command == "stop" else "finished")
        assert (summary.prompts_done, summary.baseline_count) == (1, 0)


def test_fields_of_servers_and_of_models_do_not_mix() -> None:
    for settings, words in (
        ({"model": "x"}, "--model belongs to --server URL"),
        ({"concurrency": 2}, "--concurrency belongs to --server URL"),
        ({"server": "http://a", "draft": "lookup"}, "--draft does not go with --server"),
        ({"server": "http://a", "tree": "chain:3"}, "--tree does not go with --server"),
        ({"server": "http://a", "concurrency": 0}, "it must be between 1 and 256"),
        ({"server": "http://a", "api_key_env": "sk-abc"}, "not the key itself"),
        ({"server": "http://a", "concurrency": 2, "baseline_server": "http://b"}, "leave out --concurrency"),
    ):
        with pytest.raises(DecodingError, match=words):
            _config(settings)


def _config(settings: dict[str, Any]) -> object:
    from spectui.decoding.config import RunConfig

    return RunConfig.from_dict({"raw": False, **settings})
