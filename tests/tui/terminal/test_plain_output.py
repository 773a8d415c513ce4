"""Terminals that lack characters, colours or sequences: nothing that they do not know is written."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from spectui.tui.terminal import glyphs
from spectui.tui.terminal.plain_output import CONSOLE, characters_of, plain
from tests.tui.replay import Recording
from tests.tui.terminal.pty import Terminal, dashboard
from tests.waiting import until


@pytest.mark.parametrize(
    "text", ["╭─ α ±.05 ─╮", "朋友 é 🙂", "▁▂▃▄▅▆▇█", "a\u0301", "⟨id 3⟩ – ‘x’…", "Łódź"]
)
def test_what_stands_for_a_text_is_as_wide(text: str) -> None:
    for characters in ("ascii", "console"):
        drawn = plain(text, characters)
        assert cell_len(drawn) == cell_len(text)
        assert set(drawn) <= {chr(i) for i in range(32, 127)} | (
            CONSOLE if characters == "console" else set()
        )


def test_what_stands_for_what_can_be_told_apart() -> None:
    statuses = plain("◌●‖✓■!✗·»", "ascii")
    assert len(set(statuses)) == len(statuses)
    levels = glyphs.ASCII.up
    assert len(set(levels)) == len(levels)


def test_characters_are_those_that_the_terminal_is_known_to_have() -> None:
    utf8 = {"LANG": "en_GB.UTF-8", "TERM": "xterm"}
    assert characters_of(None, utf8) == "all"
    assert characters_of(True, utf8) == "ascii"
    assert characters_of(None, utf8 | {"TERM": "linux"}) == "console"
    assert characters_of(False, {"TERM": "linux"}) == "all"
    assert characters_of(None, {"LC_ALL": "de_DE.ISO-8859-1", "LANG": "en_GB.UTF-8"}) == "ascii"
    assert characters_of(None, {"TERM": "xterm"}) == "all"
    assert characters_of(None, {"TERM": "screen", "TMUX": "/tmp/x"}) == "ascii"
    assert characters_of(None, utf8 | {"TMUX": "/tmp/x", "STY": "1.x"}) == "all"


SPECTUI = [sys.executable, "-m", "spectui.tui"]


def attached(database: Path, session: int, *options: str, env: dict[str, str]) -> bytes:
    """Everything the dashboard wrote, from its start through some screens to its end."""
    argv = [*SPECTUI, "attach", str(session), "--db", str(database), *options]
    terminal = Terminal(argv, columns=120, rows=40, env={"LANG": "C.UTF-8", "LC_ALL": ""} | env)
    try:
        terminal.wait_for("finished")
        terminal.wait_for("accepted")
        for key, text in (
            ("2", "draft"),
            ("2", "chat"),
            ("?", "help"),
            ("q", "finished"),
            ("\x1b", "by #"),  # of the list alone: the keys of what is left name the sessions too
        ):
            pressed = terminal.press(key)
            terminal.wait_for(text, since=pressed)
        pressed = terminal.press("/")
        terminal.wait_for("status", since=pressed)
        terminal.press("\x1b")
        terminal.press("\x03")
        assert terminal.wait() == 0
        until(lambda: b"\x1b[?1049l" in terminal.output(), what=lambda: "the screen to be given back")
        return terminal.output()
    finally:
        terminal.close()


@pytest.fixture
def hostile(database: Path) -> Recording:
    """A session whose text is not ASCII."""
    recording = Recording(database, tasks=("chat", "übersetzung"), prompts=2)
    recording.begin()
    recording.prompt(tokens=60)
    recording.prompt(tokens=60)
    recording.end()
    return recording


def test_ascii_is_nothing_but_ascii_and_no_mouse_asks_for_none(database: Path, hostile: Recording) -> None:
    written = attached(database, hostile.id, "--ascii", "--no-mouse", "--fps", "20", env={})
    assert written.isascii()
    assert b"+- " in written
    assert not re.search(rb"\x1b\[\?(1000|1003|1006)h", written)


def test_the_linux_console_gets_what_it_has(database: Path, hostile: Recording) -> None:
    written = attached(database, hostile.id, env={"TERM": "linux"})
    assert {c for c in written.decode() if not c.isascii()} <= CONSOLE
    assert {"┌", "─"} <= set(written.decode())
    codes = {c for code in re.findall(rb"\x1b\[([0-9;]+)m", written) for c in code.decode().split(";")}
    assert codes & {"31", "32", "33", "36"}
    assert not codes & {"38", "48"}
    known = rb"\x1b\[(\?(25|7|1000|1003|1006|1049)[hl]|[0-9;]*[mHJK])"
    assert b"\x1b" not in re.sub(known, b"", written)


def test_a_dumb_terminal_gets_lines(database: Path, hostile: Recording) -> None:
    argv = [*SPECTUI, "attach", str(hostile.id), "--db", str(database)]
    terminal = Terminal(argv, columns=80, rows=24, env={"TERM": "dumb"})
    try:
        assert terminal.wait() == 0
        until(lambda: b"mean" in terminal.output() or b"task" in terminal.output())
        assert b"\x1b" not in terminal.output()
    finally:
        terminal.close()


@pytest.mark.parametrize("env", [{"TERM": "screen"}, {"TERM": "tmux-256color"}, {"TERM": "screen-256color"}])
def test_multiplexers_get_the_colours_they_have(
    database: Path, hostile: Recording, env: dict[str, str]
) -> None:
    with dashboard(database, hostile.id, env=env) as terminal:
        terminal.wait_for("finished")
        terminal.press("q")
        assert terminal.wait() == 0
        written = terminal.output()
    assert (b"38;5;" in written) == ("256" in env["TERM"])
    assert b"38;2;" not in written


def test_settings_reach_the_dashboard(database: Path, hostile: Recording, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'ascii = true\ndatabase = "{database}"\n[keys.live]\nreport = "f"\n')
    env = {"SPECTUI_CONFIG": str(path), "SPECTUI_DB": ""}
    # Wide enough for that key's hint beside arrows in words.
    terminal = Terminal([*SPECTUI, "attach"], columns=160, rows=40, env=env)
    try:
        terminal.wait_for("finished")
        written = terminal.output()
        assert written.isascii()
        assert re.search(rb"mf(\x1b\[[0-9;]*m)+ report", written)
    finally:
        terminal.close()
    path.write_text('ascii = "yes"\n')
    terminal = Terminal([*SPECTUI, "attach"], columns=120, rows=40, env=env)
    try:
        assert terminal.wait() == 2
        until(lambda: b"config.toml:1: ascii is 'yes'; it must be true or false" in terminal.output())
    finally:
        terminal.close()
    assert os.environ.get("TEXTUAL_FPS") is None
