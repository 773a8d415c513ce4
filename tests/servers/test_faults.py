"""Protects: a server that is slow, gone, or talks rubbish is one line, and nothing of a run is lost by it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spectui.decoding.errors import DecodingError, UsageError
from spectui.servers.answers.token_texts import TokenTexts
from spectui.servers.client import Bounds, Client
from spectui.servers.errors import NotFound, ServerError
from spectui.servers.kinds import choose_model, recognise
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from tests.servers.recorded_vllm import RecordedVllm
from tests.servers.scripted import RECORDED, Reply, ScriptedServer, as_json, as_stream
from tests.servers.sessions import new_session, work
from tests.waiting import until

FEW = Bounds(most_bytes=1 << 16)
"""Few bytes, and all the time that a server that answers may need on a busy machine."""
KEY = "sk-very-secret"


def endless(part: bytes) -> Reply:
    def parts() -> Iterator[bytes]:
        while True:
            yield part

    return Reply(parts(), "text/event-stream")


def silent() -> Reply:
    """Begins an answer, then holds the line until the other side gives up."""
    return Reply(b"data: {}\n\n", "text/event-stream", hangs=True)


BAD: dict[str, tuple[Callable[[dict[str, Any]], Reply], str]] = {
    "HTML": (lambda _: Reply(b"<html><body>hi", "text/html"), "is a web page, no API"),
    "no JSON": (lambda _: Reply(b"\x00\xff", "application/json"), "not JSON"),
    "not found": (lambda _: as_json({}, 404), "answers 404"),
    "a redirect": (lambda _: Reply(b"", status=302, headers={"location": "http://elsewhere"}), "answers 302"),
    "a wrong request": (
        lambda _: as_json({"error": {"message": "too long\x1b[2J"}}, 400),
        "answers 400: too long [2J",
    ),
    "no key": (lambda _: as_json({"detail": "who?"}, 401), "--api-key-env NAME"),
    "its own fault": (lambda _: as_json({"error": "oops"}, 500), "answers 500: oops"),
    "an error in the stream": (
        lambda _: as_stream([{"error": {"message": "out of memory"}}]),
        "out of memory",
    ),
    "a stream cut off": (lambda _: as_stream([{}], done=False), "cut the answer off"),
    "a stream of rubbish": (lambda _: Reply(b"data: {\n\n", "text/event-stream"), "not JSON"),
    "a stream of lists": (lambda _: as_stream([[1]]), "no JSON object"),
    "no stream": (lambda _: as_json({"choices": []}), "does not stream"),
    "bytes without end": (lambda _: endless(b"data: {}\n\n" * 1000), "more than"),
    "an event without end": (lambda _: endless(b"x" * 10_000), "more than"),
    "packed": (lambda _: Reply(b"x", headers={"content-encoding": "gzip"}), "packs its answer"),
    "deeply nested": (lambda _: Reply(b"[" * 60_000, "application/json"), "not JSON"),
}


@pytest.mark.parametrize(("route", "words"), BAD.values(), ids=BAD)
def test_a_bad_answer_is_one_line(route: Callable[[dict[str, Any]], Reply], words: str) -> None:
    refuse(route, words, FEW)


def test_silence_is_one_line() -> None:
    refuse(lambda _: silent(), "was silent for 0.2 s", Bounds(silent_seconds=0.2))


def refuse(route: Callable[[dict[str, Any]], Reply], words: str, bounds: Bounds) -> None:
    """Ask for a stream and hold what is said of the answer to `words`."""
    with (
        ScriptedServer({"/v1/chat/completions": route}) as server,
        Client(server.address, bounds=bounds) as client,
        pytest.raises(ServerError) as refusal,
    ):
        list(client.stream("/v1/chat/completions", {"stream": True}))
    message = str(refusal.value)
    assert words in message
    assert message.isprintable()
    assert server.address in message


def test_an_answer_without_end_is_given_up() -> None:
    def slowly() -> Iterator[bytes]:
        near, far = socket.socketpair()
        far.settimeout(0.05)
        with near, far:
            while True:
                yield b"data: {}\n\n"
                try:
                    far.recv(1)
                except TimeoutError:
                    continue

    stream = {"/s": lambda _: Reply(slowly(), "text/event-stream")}
    with (
        ScriptedServer(stream) as server,
        Client(server.address, bounds=Bounds(whole_seconds=0.5)) as client,
        pytest.raises(ServerError, match=r"not come to an end after 0\.5 s"),
    ):
        list(client.stream("/s", {}))


def test_an_answer_may_take_the_longer_the_more_is_asked_for() -> None:
    assert Bounds.of_tokens(10) == Bounds()
    assert Bounds.of_tokens(2000).whole_seconds == 10_000
    assert Bounds.of_tokens(2000).silent_seconds == 60  # a stream says something with each token
    assert Bounds.of_tokens(2000, streamed=False).silent_seconds == 10_000


def test_time_in_which_an_answer_is_not_read_is_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may be paused for hours."""
    clock = [0.0]
    monkeypatch.setattr("spectui.servers.client.time", SimpleNamespace(monotonic=lambda: clock[0]))
    stream = {"/s": lambda _: as_stream([{"n": n, "text": "x" * 100_000} for n in range(5)])}
    read = 0
    with ScriptedServer(stream) as server, Client(server.address) as client:
        for _ in client.stream("/s", {}):
            clock[0] += 3600.0
            read += 1
    assert read == 5


def test_nobody_there_and_no_tls_are_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Client(f"http://{address}") as client, pytest.raises(ServerError, match="is it running"):
            recognise(client)
    with ScriptedServer({}) as server:
        with (
            Client(server.address.replace("http", "https")) as client,
            pytest.raises(ServerError) as tls,
        ):
            recognise(client)
        assert str(tls.value).isprintable()
        with Client(server.address) as client, pytest.raises(NotFound):
            recognise(client)


def test_a_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    refuse = {"/v1/models": lambda _: as_json({"error": f"bad key {KEY}"}, 401)}
    database = tmp_path / "runs.db"
    with ScriptedServer(refuse) as server:
        with Client(server.address, "THE_KEY") as client, pytest.raises(ServerError) as refusal:
            client.json("/v1/models")
        assert server.headers["authorization"] == f"Bearer {KEY}"
        session = new_session(database, server.address, api_key_env="THE_KEY")
        assert work(database, session) == 1
        server.routes["/v1/models"] = lambda _: Reply(b"", status=401, reason=f"not {KEY}")
        with Client(server.address, "THE_KEY") as client, pytest.raises(ServerError) as reason:
            client.json("/v1/models")
    assert KEY not in str(refusal.value) + str(reason.value)
    with Reader(database) as reader:
        assert "***" in (reader.session(session).error or "")
    assert KEY.encode() not in database.read_bytes() + database.with_name("runs.db-wal").read_bytes()
    for name in ("NOT_SET", "THE_KEY2"):
        monkeypatch.setenv("THE_KEY2", "ключ")
        with pytest.raises(UsageError) as missing:
            Client("http://127.0.0.1:1", name)
        assert "ключ" not in str(missing.value)
        assert name not in str(missing.value)  # some give the key itself


def test_a_key_is_not_sent_to_another_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    vllm, plain, database = RecordedVllm("eagle3"), RecordedVllm("eagle3"), tmp_path / "runs.db"
    with ScriptedServer(vllm.routes) as server, ScriptedServer(plain.routes) as without:
        elsewhere = without.address.replace("127.0.0.1", "localhost")
        session = new_session(
            database, server.address, [("a", "one")], max_new_tokens=64, api_key_env="THE_KEY",
            baseline_server=elsewhere,
        )  # fmt: skip
        assert work(database, session) == 0
    assert server.headers["authorization"] == f"Bearer {KEY}"
    assert any(path.endswith("completions") for path, _ in without.asked)
    assert "authorization" not in without.headers


@pytest.mark.parametrize(
    ("models", "name", "words"),
    [
        (["a"], "b", "serves: a"),
        (["a", "b"], "", "choose one with --model: a, b"),
        ([], "", "name it with --model"),
    ],
)
def test_a_wrong_model_is_refused_with_those_there_are(models: list[str], name: str, words: str) -> None:
    routes = {"/v1/models": lambda _: as_json({"data": [{"id": m, "owned_by": "vllm"} for m in models]})}
    with (
        ScriptedServer(routes) as server,
        Client(server.address) as client,
        pytest.raises(UsageError, match=words),
    ):
        choose_model(recognise(client), name, server.address)


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
    with ScriptedServer(vllm.routes) as server, ScriptedServer(plain.routes) as without:
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
    quiet = plain.routes | {"/v1/chat/completions": lambda _: silent()}

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
