"""Functions that take the fuzzer's inputs and demand one line for each error, and nothing that steers."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from hypothesis import strategies as st

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import UsageError
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker.control import Control, Skipped, Stopped
from spectui.prompts.errors import PromptError
from spectui.prompts.loader import load, problems
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.sessions import send_command
from spectui.store.writing.writer import SessionWriter
from spectui.tui import settings
from spectui.tui.cli.commands import doctor
from spectui.tui.feeds.base import Trouble
from spectui.tui.feeds.session import SessionFeed
from spectui.tui.feeds.sessions import SessionsFeed
from spectui.tui.model.state import Stream, Tree
from spectui.tui.model.transcript import Transcript
from spectui.tui.settings import SettingsError
from spectui.tui.terminal.cells import fit
from spectui.tui.terminal.textsafe import sanitize, sanitize_line
from tests.fuzz.strategies import (
    Damage,
    any_text,
    commands,
    configs,
    damages,
    prompt_files,
    settings_files,
    sound_database,
    tree_files,
    trees,
)
from tests.store.samples import make_session

STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that may never be written to a terminal, but for our own."""


VIEWS = (
    ("sessions", "ls"), ("sessions", "ls", "--json"), ("sessions", "show", "1"), ("sessions", "show", "2", "--json"),
    ("report", "1"), ("report", "2", "--json"), ("compare", "1", "2"), ("doctor",), ("doctor", "--repair"),
    ("sessions", "prune", "--keep-nodes", "rounds"), ("sessions", "rm", "1", "--yes"), ("sessions", "vacuum"),
    ("sessions", "stop", "1"), ("feeds",), ("feeds",),
)  # fmt: skip
"""Commands that open a damaged database, in turn."""

SETTINGS_VIEWS = (("config", "show"), ("config", "show", "--json"), ("sessions", "ls"))

WITH_ROWID = ("session", "generation", "round", "command", "event", "pruned")


class Targets:
    """Each method but `__init__` is a target and takes one input; raises when something does not hold."""

    def __init__(self, folder: Path) -> None:
        doctor._decoding = lambda problems: {}  # seconds of importing torch, and nothing of the database
        self._file = folder / "input"
        self._tree = folder / "tree.json"
        self._settings = folder / "config.toml"
        self._database = folder / "damaged.db"
        self._sound = sound_database(folder / "sound.db")
        self._commands = connect(folder / "commands.db")
        self._writer = SessionWriter(self._commands, make_session(self._commands))
        self._writer.claim()
        self._control = Control() if threading.current_thread() is threading.main_thread() else None
        self._turn = 0

    def all(self) -> dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None], int]]:
        """By name: what to make, what to give it to, and its share of the cases."""
        return {
            "text": (any_text, self.text, 3),
            "prompt files": (prompt_files, self.prompt_file, 3),
            "configurations": (configs, self.config, 3),
            "settings files": (settings_files, self.settings_file, 2),
            "trees": (trees, self.tree, 2),
            "tree files": (tree_files, self.tree_file, 2),
            "command rows": (commands, self.command_rows, 1),
            "databases": (damages, self.database, 6),
        }

    def text(self, text: str) -> None:
        """Text of a model, on its way to the screen."""
        for safe in (sanitize(text), sanitize_line(text), fit(sanitize_line(text), 20)):
            _says_nothing_steering(safe)
            safe.encode("utf-8")
        transcript = Transcript(20)
        transcript.append("accepted", sanitize(text), 1)
        for y in range(transcript.line_count):
            for _, part, _ in transcript.line(y):
                _says_nothing_steering(part)
        self._cli(
            "sessions", "show", text.replace("\x00", ""), "--db", str(self._database.with_name("sound.db"))
        )

    def prompt_file(self, data: bytes) -> None:
        """A file for --prompts."""
        self._file.write_bytes(data)
        for line in problems(self._file):
            _is_one_line(line)
        with contextlib.suppress(PromptError):
            load(self._file)
        self._cli("prompts", "check", str(self._file))

    def config(self, text: str) -> None:
        """A configuration, as a session holds it."""
        try:
            RunConfig.from_json(text)
        except UsageError as error:
            _is_one_line(sanitize_line(str(error)))

    def settings_file(self, data: bytes) -> None:
        """The user's own settings: what is wrong is said with file and line, whatever the command."""
        self._settings.write_bytes(data)
        wrong = ""
        try:
            settings.load(self._settings)
        except SettingsError as error:
            wrong = sanitize_line(str(error))
            _is_one_line(wrong)
            line = wrong.removeprefix(f"{self._settings}:").partition(":")[0]
            assert line.isdecimal(), ascii(wrong)
            assert 1 <= int(line) <= data.count(b"\n") + 1, ascii(wrong)
        view = SETTINGS_VIEWS[self._turn % len(SETTINGS_VIEWS)]
        self._turn += 1
        sound = self._database.with_name("sound.db")
        said = self._cli(*view, "--db", str(sound), env={"SPECTUI_CONFIG": str(self._settings)})
        assert wrong in said or view == ("sessions", "ls"), (view, ascii(wrong), ascii(said))

    def tree(self, spec: str) -> None:
        """A value of --tree."""
        if spec.endswith(".json"):
            return
        try:
            parse_tree(spec)
        except UsageError as error:
            _is_one_line(sanitize_line(str(error)))

    def tree_file(self, data: bytes) -> None:
        """A file for --tree."""
        self._tree.write_bytes(data)
        try:
            parse_tree(str(self._tree))
        except UsageError as error:
            _is_one_line(sanitize_line(str(error)))

    def command_rows(self, kinds: list[Any]) -> None:
        """Rows of `command`, whoever wrote them: the worker obeys those it knows."""
        with contextlib.suppress(sqlite3.IntegrityError):
            for kind in kinds:
                self._commands.execute(
                    "INSERT INTO command (session_id, kind, created_at) VALUES (1, ?, '')", (kind,)
                )
        if "pause" in kinds:
            send_command(self._commands, 1, "resume")
        if self._control is not None:
            with contextlib.suppress(Skipped, Stopped):
                self._control.check(self._writer)
            self._control = Control()
        assert [kind for kind in self._writer.take_commands() if kind == "pause"] == []

    def database(self, damage: Damage) -> None:
        """A whole database, opened by the command line and by the feeds of the dashboard."""
        self._damage(damage)
        view = VIEWS[self._turn % len(VIEWS)]
        self._turn += 1
        if view == ("feeds",):
            self._feeds()
        else:
            self._cli(*view, "--db", str(self._database), foreseen=False)

    def _damage(self, damage: Damage) -> None:
        data = bytearray(self._sound)
        for place, mask in damage.flips:
            data[int(place * len(data))] ^= mask
        if damage.cut is not None:
            del data[int(damage.cut * len(data)) :]
        for suffix in ("", "-wal", "-shm", "-journal"):
            self._database.with_name(self._database.name + suffix).unlink(missing_ok=True)
        self._database.write_bytes(data)
        connection = sqlite3.connect(self._database, isolation_level=None)
        with contextlib.closing(connection), contextlib.suppress(sqlite3.Error):
            if damage.drop:
                connection.execute(f"DROP TABLE {damage.drop}")
            if damage.table:
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({damage.table})")]
                name = names[damage.column % len(names)]
                where = "1"
                if damage.table in WITH_ROWID:
                    some = f"SELECT rowid FROM {damage.table} LIMIT 1 OFFSET {damage.row % 3}"
                    where = f"rowid IN ({some})"
                connection.execute(f'UPDATE {damage.table} SET "{name}" = ? WHERE {where}', (damage.value,))

    def _cli(self, *arguments: str, foreseen: bool = True, env: dict[str, str] | None = None) -> str:
        """Run a command; unless `foreseen`, an error may be one that nobody had thought of, said in one line.

        Returns what it wrote.
        """
        from spectui.tui.cli import main

        result = CliRunner().invoke(main, list(arguments), env=env)
        assert result.exit_code in (0, 1, 2), (arguments, result.exit_code)
        assert result.exception is None or isinstance(result.exception, SystemExit), arguments
        assert "Traceback" not in result.output
        assert not foreseen or "--debug shows where" not in result.stderr, (arguments, result.stderr)
        _says_nothing_steering(result.output)
        if result.exit_code == 2:
            _is_one_line(result.stderr.strip())
        return result.output

    def _feeds(self) -> None:
        posted: list[object] = []
        try:
            reader = Reader(self._database)
        except StoreError:
            return
        with reader:
            for feed in (
                SessionsFeed(self._database, posted.append),
                SessionFeed(self._database, 1, posted.append),
            ):
                for _ in range(3):
                    posted += feed.look(reader)
        for item in posted:
            if isinstance(item, Stream):
                for piece in item.pieces:
                    _says_nothing_steering(piece.text)
            if isinstance(item, Tree):
                for text in item.texts.values():
                    _is_one_line(text)
            if isinstance(item, Trouble):
                _is_one_line(sanitize_line(item.message))


def _says_nothing_steering(text: str) -> None:
    steering = STEERS.search(text)
    assert steering is None, ascii(text[max(steering.start() - 40, 0) : steering.start() + 40])


def _is_one_line(text: str) -> None:
    assert "\n" not in text, ascii(text)
    _says_nothing_steering(text)
