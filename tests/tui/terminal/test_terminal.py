"""The dashboard in a real terminal: hostile text, lost lines, missing colours, bad databases."""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from spectui.store.errors import StoreError
from spectui.tui.app import run_dashboard
from tests.tui.replay import Recording
from tests.tui.terminal.pty import DASHBOARD, Terminal, dashboard
from tests.waiting import until

HOSTILE = (
    " {} \x1b[31mRED\x1b]0;pwned\x07\x1b]52;c;aGk=\x07 \x9b31m \x1bc \x1bP1$r\x1b\\ [red]loud[/red] "
    "[@click=app.quit]x[/] a\u202eb \u200bz \x08\x08 \r over \x7f 漢字 🙂 {} end. "
)
SEQUENCE = re.compile(
    rb"\x1b(\[[0-9;?<>=!$ ]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[()][0-9A-B]|[=>78cDEHM])"
)


def test_nothing_of_a_hostile_model_reaches_the_terminal(database: Path) -> None:
    """Written through the same store a worker writes through, in the text, the prompt and the error."""
    model, asked, error = (HOSTILE.format(name, name) for name in ("MODEL", "PROMPT", "ERROR"))
    recording = Recording(
        database, tasks=("code",), prompts=3, texts={"code": model}, questions={"code": asked}
    )
    recording.begin()
    recording.prompt(tokens=60)
    recording.fail_prompt(error)
    recording.end("failed", error=error)
    with dashboard(database, recording.id) as terminal:
        for part in ("ERROR", "PROMPT", "[red]loud"):
            terminal.wait_for(part)
        terminal.press("[")
        terminal.wait_for("MODEL")
        for key in "2341xxh":
            terminal.press(key)
        terminal.press("q")
        assert terminal.wait() == 0
        written = terminal.output()
    for forbidden in (
        b"\x1b[31mRED",
        b"\x1b]0;pwned",
        b"\x1b]52",
        "\x9b".encode(),
        b"\x1bc",
        "\u202e".encode(),
        "\u200b".encode(),
    ):
        assert forbidden not in written, forbidden
    assert b"\x7f" not in written
    assert "␛[31m".encode() in written
    rest = SEQUENCE.sub(b"", written)
    assert b"\x1b" not in rest
    assert not set(rest) & (set(range(0x20)) - set(b"\r\n\x0f\x07\x08"))


def test_a_lost_line_kills_the_dashboard_and_not_the_run(database: Path) -> None:
    command = [sys.executable, "-m", "tests.tui.replay", "--db", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        try:
            assert run.stdout is not None
            session = int(run.stdout.readline().split()[0])
            with dashboard(database, session) as terminal:
                terminal.wait_for("running")
                terminal.hang_up()
                # The signal of the line, or the dashboard's own where it has seen the end of it first.
                assert terminal.wait() in (-signal.SIGHUP, -signal.SIGTERM)
            assert run.poll() is None
            with dashboard(database, session, columns=80, rows=24) as again:
                again.wait_for("running")
        finally:
            run.kill()


def test_ctrl_z_goes_to_the_shell_and_fg_comes_back(database: Path, finished: Recording) -> None:
    command = shlex.join([sys.executable, "-c", DASHBOARD, str(database), str(finished.id)])
    shell = ["bash", "--norc", "--noprofile", "-i"]
    terminal = Terminal(shell, columns=120, rows=40, env={"PS1": "ready> ", "HISTFILE": ""})
    try:
        terminal.wait_for("ready> ")
        terminal.press(f"{command}\n")
        terminal.wait_for("accepted draft")
        stopped = terminal.press("\x1a")
        terminal.wait_for("ready> ", since=stopped)
        assert b"\x1b[?1049l" in terminal.output(stopped), "the screen of the shell is back"
        asked = terminal.press("stty -a | tr ' ' '\\n' | grep -x -e -*icanon -e -*echo | tr '\\n' '+'\n")
        terminal.wait_for("icanon+echo+", since=asked)
        back = terminal.press("fg\n")
        terminal.wait_for("\x1b[?1049h", since=back)
        terminal.wait_for("accepted draft", since=back)
        # The prompt after the command before may come after `back`.
        left_at = terminal.press("q")
        terminal.wait_for("ready> ", since=left_at)
        terminal.press("exit\n")
        assert terminal.wait() == 0
    finally:
        terminal.close()


def test_ctrl_z_without_a_shell_stops_nothing(database: Path, finished: Recording) -> None:
    """Nobody could let it go on: a window of tmux, a container, a line of ssh of its own."""
    with dashboard(database, finished.id) as terminal:
        terminal.wait_for("accepted draft")
        terminal.press("\x1a")
        terminal.wait_for("There is no")
        terminal.press("q")
        assert terminal.wait() == 0


KEEPS_THE_SIGNAL = """
import signal, subprocess, sys
signal.signal(signal.SIGHUP, lambda *_: None)
sys.exit(-subprocess.Popen(sys.argv[1:]).wait())
"""
"""A `make`: the signal of a lost line goes to it alone, and it goes on waiting for what it started."""


def test_a_lost_line_ends_a_dashboard_that_its_starter_waits_for(database: Path, finished: Recording) -> None:
    """The signal never comes, and what is left of the terminal reads as empty for ever."""
    under = (sys.executable, "-c", KEEPS_THE_SIGNAL)
    with dashboard(database, finished.id, under=under) as terminal:
        terminal.wait_for("finished")
        (child,) = psutil.Process(terminal.pid).children()
        terminal.hang_up()
        try:
            assert terminal.wait() == signal.SIGTERM
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({"NO_COLOR": "1"}, False), ({"TERM": "xterm"}, True), ({"TERM": "xterm-256color"}, True)],
    ids=["NO_COLOR", "16 colours", "256 colours"],
)
def test_kinds_of_text_keep_their_attributes(
    database: Path, finished: Recording, env: dict[str, str], coloured: bool
) -> None:
    with dashboard(database, finished.id, env=env) as terminal:
        terminal.wait_for("accepted draft")
        terminal.wait_for("target's own")
        terminal.press("q")
        assert terminal.wait() == 0
        written = terminal.output()
    codes = [set(each.decode().split(";")) for each in re.findall(rb"\x1b\[([0-9;]+)m", written)]
    assert any("1" in code and "9" not in code for code in codes)  # the target's own: bold
    assert any("9" in code for code in codes)  # rejected: struck through
    used = {int(c) for code in codes for c in code if c.isdigit()}
    assert bool(used & ({*range(30, 39), *range(40, 49), *range(90, 108)})) == coloured
    if "TERM" in env and env["TERM"] == "xterm":
        assert "38" not in {c for code in codes for c in code}


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 60)])
def test_every_size_starts_and_ends_cleanly(
    database: Path, finished: Recording, size: tuple[int, int]
) -> None:
    with dashboard(database, finished.id, columns=size[0], rows=size[1]) as terminal:
        terminal.wait_for("finished")
        terminal.press("q")
        assert terminal.wait() == 0
        until(lambda: b"\x1b[?1049l" in terminal.output(), what=lambda: "the screen to be given back")
        assert b"Traceback" not in terminal.output()


def test_no_module_of_the_dashboard_brings_in_a_model_library() -> None:
    code = (
        "import importlib, pkgutil, sys, tui\n"
        "for module in pkgutil.walk_packages(tui.__path__, 'tui.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "print(*(m for m in ('torch', 'transformers', 'safetensors', 'gguf', 'scipy') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_what_cannot_be_opened_is_refused_before_anything_is_drawn(
    tmp_path: Path, finished: Recording
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database, but long enough to look at. " * 30)
    before = other.read_bytes()
    with pytest.raises(StoreError):
        run_dashboard(other)
    assert other.read_bytes() == before
    with pytest.raises(StoreError):
        run_dashboard(tmp_path / "spectui.db", 99)


def test_a_dashboard_whose_output_goes_to_a_file_is_refused(tmp_path: Path) -> None:
    """It is drawn on standard error: the terminal stayed empty, and nothing said why."""
    errors = tmp_path / "errors"
    command = (
        f"{shlex.join([sys.executable, '-m', 'spectui.tui', '--db', str(tmp_path / 'x.db')])} 2> {errors}"
    )
    terminal = Terminal(["bash", "-c", command], columns=80, rows=24)
    try:
        assert terminal.wait() == 2
        assert "the dashboard needs a terminal" in errors.read_text()
    finally:
        terminal.close()
