"""Protects: a bad answer of a server is one line, a key goes to its own host alone, and no wait is without end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spectui.decoding.errors import UsageError
from spectui.servers.client import Bounds, Client
from spectui.servers.errors import NotFound, ServerError
from spectui.servers.kinds import choose_model, recognise
from spectui.store.reading.reader import Reader
from tests.servers.recorded_vllm import PLAIN_PAGE, RecordedVllm
from tests.servers.scripted import Reply, ScriptedServer, as_json, as_stream, silent
from tests.servers.sessions import new_session, work

FEW = Bounds(most_bytes=1 << 16)
"""Few bytes, and all the time that a server that answers may need on a busy machine."""
KEY = "sk-very-secret"


def endless(part: bytes) -> Reply:
    def parts() -> Iterator[bytes]:
        while True:
            yield part

    return Reply(parts(), "text/event-stream")


BAD: dict[str, tuple[Callable[[dict[str, Any]], Reply], str]] = {
    "HTML": (lambda _: Reply(b"<html><body>hi", "text/html"), "is a web page, no API"),
    "no JSON": (lambda _: Reply(b"\x00\xff", "application/json"), "not JSON"),
    "not found": (lambda _: as_json({}, 404), "answers 404"),
    "a redirect": (
        lambda _: Reply(b"", status=302, headers={"location": "http://elsewhere"}),
        "points to: http://elsewhere",
    ),
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


def test_a_server_that_waits_for_more_than_a_greeting_of_tls_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_one:
        address = f"https://127.0.0.1:{silent_one.getsockname()[1]}"
        with (
            Client(address, bounds=Bounds(connect_seconds=0.2)) as client,
            pytest.raises(ServerError, match="is it http:// rather than https://"),
        ):
            recognise(client)


def test_a_key_that_is_not_taken_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    with (
        ScriptedServer({"/v1/models": lambda _: as_json({"error": f"no {KEY}"}, 401)}) as server,
        Client(server.address, "THE_KEY") as client,
        pytest.raises(ServerError, match=r"no \*\*\*; it does not take the key that --api-key-env names"),
    ):
        recognise(client)


def test_a_key_is_not_sent_to_another_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    vllm, plain, database = RecordedVllm("eagle3"), RecordedVllm("eagle3"), tmp_path / "runs.db"
    with ScriptedServer(vllm.routes) as server, ScriptedServer(plain.routes | PLAIN_PAGE) as without:
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
