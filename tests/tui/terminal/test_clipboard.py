"""Protects: copying through SSH and tmux, and saying what may be in its way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spectui.tui.terminal.clipboard import copy
from tests.tui.conftest import app_for, live_screen, shown, wait_for
from tests.tui.replay import Recording
from tests.tui.synthetic import TEXTS


class Terminal:
    """Stands for an app, and remembers what it was asked to put on the clipboard."""

    def __init__(self) -> None:
        self.copied: list[str] = []

    def copy_to_clipboard(self, text: str) -> None:
        self.copied.append(text)


def fake_tmux(folder: Path, monkeypatch: pytest.MonkeyPatch, *, status: int) -> Path:
    """A tmux that writes what it is told and given into a file."""
    heard = folder / "heard"
    script = folder / "tmux"
    script.write_text(f'#!/bin/sh\n(echo "$@"; /bin/cat) > {heard}\nexit {status}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    return heard


def test_a_terminal_is_asked_and_its_user_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    terminal: Any = Terminal()
    assert "OSC 52" in copy(terminal, "朋友")
    assert terminal.copied == ["朋友"]


def test_tmux_gets_it_in_its_own_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = fake_tmux(tmp_path, monkeypatch, status=0)
    terminal: Any = Terminal()
    assert "also to tmux" in copy(terminal, "two\nlines – 朋友")
    assert heard.read_text() == "load-buffer -w -\ntwo\nlines – 朋友"
    assert terminal.copied == ["two\nlines – 朋友"]


def test_a_tmux_that_cannot_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tmux(tmp_path, monkeypatch, status=1)
    terminal: Any = Terminal()
    assert "set-clipboard on" in copy(terminal, "text")
    (tmp_path / "tmux").unlink()
    assert "set-clipboard on" in copy(terminal, "text")
    assert terminal.copied == ["text"] * 2


async def test_y_copies_the_text_of_the_prompt(
    database: Path, finished: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    app = app_for(database, finished.id)
    copied: list[str] = []
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: shown(screen, 7))
        await pilot.press("x", "y")
        assert len(copied) == 1
        assert TEXTS["chat"].startswith(copied[0][:80])
        assert len(copied[0]) > 80
