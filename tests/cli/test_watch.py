"""`spectui watch` in a shell: one look, events as lines, the export; and what a recorded watch is read with."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from spectui.servers.watch.events import Event
from spectui.servers.watch.fleet import Fleet, LiveFleet, read_servers
from spectui.servers.watch.payoff import Plain
from spectui.servers.watch.server import Watched
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.samples import Sample
from spectui.store.sources import Server
from spectui.store.writing.samples import SampleWriter, create_watch
from spectui.tui.cli import main
from spectui.tui.watching.once import EventLines
from spectui.tui.watching.recorded import RecordedFleet
from spectui.tui.watching.recorder import Recorder
from tests.servers.watch.fake import SETUPS, FakeServer, page, simulated
from tests.tui.screens import data
from tests.waiting import until


@pytest.fixture(autouse=True)
def quick(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two polls right after each other; earlier watches are looked for in this test's own database."""
    monkeypatch.setattr("spectui.tui.cli.commands.watch.ONCE_S", 0.05)


def served(drafter: str, before_s: float = 240.0) -> FakeServer:
    return FakeServer(
        simulated("vllm", replace(SETUPS[drafter], step_ms=60.0, concurrency=2), before_s=before_s)
    )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["watch", *arguments])


def test_once_prints_a_table_and_the_answer() -> None:
    with served("eagle") as eagle, served("plain") as plain:
        result = run(eagle.url, plain.url, "--once")
    assert result.exit_code == 0, result.output
    assert re.search(r"vLLM +m +3 +\d\.\d\d×", result.stdout)
    name = plain.url.removeprefix("http://")
    assert re.search(r"YES  \d\.\d\d× plain  .* ms a token; plain", result.stdout)
    assert f"plain: {name}, 2 running" in result.stdout


def test_once_as_json_has_null_for_what_is_not_known_and_the_source_of_each_figure() -> None:
    with served("eagle") as eagle:
        result = run(eagle.url, "--once", "--json")
    (server,) = json.loads(result.stdout)["servers"]
    assert server["pays"]["verdict"] == "?"
    assert server["pays"]["speedup"] is None
    assert server["figures"]["tokens_per_round"]["value"] > 1.5
    assert "inter_token_latency_seconds_count" in server["figures"]["tokens_per_round"]["source"]
    assert server["figures"]["waiting"]["value"] == 0
    assert server["figures"]["plain_ms_per_token"]["value"] is None
    assert [position["position"] for position in server["positions"]] == [1, 2, 3]


def test_a_server_that_is_not_reached_ends_with_4_and_the_others_are_told() -> None:
    with served("eagle", 30.0) as eagle, FakeServer(lambda _: page("node_load1 1\nnode_x 1\n")) as other:
        result = run(eagle.url, "http://127.0.0.1:1", other.url, "--once")
    assert result.exit_code == 4
    assert "Connection refused" in result.stdout
    assert "another program ('node' ...)" in result.stdout
    assert "τ" in result.stdout


def test_an_alert_ends_with_3_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of five positions is never accepted."""
    useless = replace(SETUPS["eagle"], depth=5, survives=(0.7, 0.5, 0.5, 0.5, 0.0), step_ms=60.0)
    with FakeServer(simulated("vllm", useless, before_s=120.0)) as server:
        assert run(server.url, "--once").exit_code == 0
        result = run(server.url, "--once", "--fail-on-alert")
    assert result.exit_code == 3
    assert re.search(r"▲ position 5 never accepted in [\d,]+ rounds \(< 0\.\d%\): try k 4", result.stdout)


def test_the_export_is_prometheus_text_without_what_is_not_known(tmp_path: Path) -> None:
    out = tmp_path / "spectui.prom"
    with served("eagle") as eagle:
        for mode in (0o644, 0o600):  # a new one is for the collector's user; one that is there keeps its mode
            assert run(eagle.url, "http://127.0.0.1:1", "--once", "--export", str(out)).exit_code == 4
            assert stat.S_IMODE(out.stat().st_mode) == mode
            out.chmod(0o600)
    families = {
        family.name: family for family in text_string_to_metric_families(out.read_text(encoding="utf-8"))
    }
    up = {sample.labels["server"]: sample.value for sample in families["spectui_watch_up"].samples}
    assert up == {eagle.url: 1.0, "http://127.0.0.1:1": 0.0}
    (tokens,) = families["spectui_watch_tokens_per_round"].samples
    assert tokens.value > 1.5
    assert families["spectui_watch_speedup"].samples == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["not a url"], "no URL"),
        (["http://gpu:1", "http://gpu:1/v1"], "named twice"),
        (["http://gpu:1", "--json"], "--json goes with --once"),
        (["http://gpu:1", "--fail-on-alert"], "--fail-on-alert goes with --once"),
        (["http://gpu:1", "--api-key-env", "NO_SUCH_KEY"], "names a variable that is not set"),
    ],
)
def test_bad_use_is_one_line(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_terminal_events_are_lines_and_the_watch_is_recorded(tmp_path: Path) -> None:
    database = tmp_path / "w.db"
    command = [sys.executable, "-u", "-c", "from spectui.tui.cli import main; main()"]
    with served("eagle") as eagle:
        arguments = ["watch", eagle.url, "--db", str(database), "--export", str(tmp_path / "x.prom")]
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert "watching; speculates, k 3" in process.stdout.readline()
                until(lambda: "watching" in read(database, "report").stdout)
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
            finally:
                process.kill()
    assert (tmp_path / "x.prom").exists()
    listed = CliRunner().invoke(main, ["sessions", "ls", "--db", str(database), "--json"])
    (session,) = json.loads(listed.stdout)
    assert session["status"] == "finished"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("watched") / "w.db"
    data.watched(database)
    return database


def read(recorded: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--db", str(recorded)])


def test_a_recorded_watch_is_reported_by_segment(recorded: Path) -> None:
    result = read(recorded, "report", "1")
    assert re.search(r"^1 .* 3 .*\n2 .* 3 ", result.stdout, re.MULTILINE)
    assert "YES  1." in result.stdout
    assert "↻ restarted" in result.stdout
    figures = json.loads(read(recorded, "report", "1", "--json").stdout)
    assert figures["pays"]["plain"] == "gpu1:8000"


def test_a_watch_has_no_count_of_prompts_or_tokens(recorded: Path, tmp_path: Path) -> None:
    listed = read(recorded, "sessions", "ls").stdout.splitlines()
    assert all(re.search(r"  –\s+–\s+–\s+–\s+–\s+\S", row) for row in listed[1:])
    exported = read(
        recorded, "sessions", "export", "1", "--format", "sqlite", "--out", str(tmp_path / "w.db")
    )
    assert "samples of a watched server" in exported.stdout
    shown = read(recorded, "sessions", "show", "1").stdout
    assert "without rounds of ours" in shown
    assert not re.search(r"prompts|settings|0 tokens", shown)


def test_two_watches_are_compared_and_nothing_else_with_one(recorded: Path) -> None:
    result = read(recorded, "compare", "1", "2")
    assert re.match(
        r"'quiet-server-0' is 1\.\d\d× as fast a token as 'quiet-server-1' under like loads", result.stdout
    )
    assert json.loads(read(recorded, "compare", "1", "2", "--json").stdout)["speedup"] > 1.3


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("attach 1 --headless", "is a watched server"),
        ("run --resume 1", ""),
        ("advise 1", "is a watched server"),
        ("report 1 --html x.html", "as text or with --json"),
        ("report 1 --csv x", "as text or with --json"),
        ("report 1 --price 2", "as text or with --json"),
        ("sessions export 1 --out x", "use --format sqlite"),
        ("sessions export 1 --format aiperf --out x", "use --format sqlite"),
    ],
)
def test_what_a_watch_does_not_have_is_said(
    recorded: Path, command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file, or an option without effect, would be taken for an answer."""
    monkeypatch.chdir(tmp_path)
    result = read(recorded, *command.split())
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_events_of_one_moment_are_each_printed_once() -> None:
    server = Watched("http://gpu:1", "gpu:1")
    lines = EventLines(Fleet([server]))
    printed = []
    for text in ("one", "two", "three"):
        server.events.append(Event(1000.0, "silent", text))
        printed.append([line.rpartition(" ")[2] for line in lines.fresh()])
    assert printed == [["one"], ["two"], ["three"]]
    assert lines.fresh() == []


def test_servers_are_asked_while_earlier_watches_are_read() -> None:
    """A database of months may be on a slow disk; what is in it changes no poll."""
    read_now = threading.Event()
    kept = {"http://gpu:9": Plain("session #1", ())}

    def recall() -> dict[str, Plain]:
        assert read_now.wait(30)
        return kept

    with served("eagle", 30.0) as eagle:
        fleet = LiveFleet(read_servers([eagle.url]))
        with fleet, Recorder(fleet, None, recall=recall):
            until(lambda: fleet.views(columns=0)[0].answers)
            assert fleet.remembered == {}
            read_now.set()
            until(lambda: fleet.remembered == kept)


def test_plain_decoding_of_an_earlier_watch_is_remembered(tmp_path: Path) -> None:
    """A/B by restart: the server decoded plainly yesterday, and speculates today."""
    from spectui.servers.metrics import read_page
    from tests.servers.watch.simulated import Simulated

    database = tmp_path / "w.db"
    with served("eagle") as eagle:
        db = connect(database)
        writer = SampleWriter(db, create_watch(db, Server("vLLM", eagle.url, "m"), "g"))
        plain = Simulated(replace(SETUPS["plain"], step_ms=60.0, concurrency=2), started=1_000_000.0)
        for _ in range(24):
            plain.run(10.0)
            writer.add([(1, read_page(plain.vllm(), plain.now))], [])
        result = run(eagle.url, "--once", "--db", str(database))
    assert re.search(r"YES  1\.\d\d× plain", result.stdout), result.output
    assert "plain: session #1, 2 running" in result.stdout


def test_a_watch_that_goes_on_is_shown_from_what_is_kept_of_it(tmp_path: Path) -> None:
    """Its recording thins as it ages; who looks at it for days must not hold all that was ever in it."""
    db = connect(tmp_path / "w.db")
    session = create_watch(db, Server("vLLM", "http://gpu:1", "m"), "g")
    writer, fleet = SampleWriter(db, session), RecordedFleet(session)
    writer.claim()
    writer.set_status("running")

    def add(begin: int, end: int) -> None:
        events = [(float(begin), "clock", f"event {begin}")]
        writer.add(
            [(1, Sample(at=1e6 + at, engine="vllm", rounds=1.0 * at)) for at in range(begin, end)], events
        )
        with Reader(tmp_path / "w.db") as reader:
            fleet.load(reader)

    for minute in range(70):
        add(60 * minute, 60 * minute + 60)
        (server,) = fleet.servers
        kept = len(server.history.of_segment(1))
        if minute == 59:
            assert kept == 3600
    (rows,) = db.execute("SELECT count(*) FROM sample").fetchone()
    assert kept < rows + 600 < 2000
    whole = server.history.since_start()
    assert whole is not None
    assert whole.rounds == 70 * 60 - 1
    assert [event.text for event in server.events] == [f"event {60 * minute}" for minute in range(70)]
