"""Copying from a terminal that may be at the end of SSH and inside tmux: by OSC 52, a request to the terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

from textual.app import App

from spectui.decoding.processes import run
from spectui.tui.terminal.cells import count

TMUX_SECONDS = 2.0


def copy(app: App[Any], text: str) -> str:
    """Ask the terminal to put `text` on its clipboard; returns what to tell the user.

    A terminal never answers, so all that can be said is how to allow it. tmux by default ignores the
    request of a program inside it, but passes on its own: there the text goes through tmux's buffer too.
    """
    app.copy_to_clipboard(text)
    copied = f"Copied {count(len(text))} characters"
    if not os.environ.get("TMUX"):
        return f"{copied}. If nothing arrives, the terminal does not allow OSC 52."
    if _through_tmux(text):
        return f"{copied}, also to tmux (prefix ] pastes)."
    return f"{copied}. If nothing arrives: tmux set -g set-clipboard on."


def _through_tmux(text: str) -> bool:
    """Put it in tmux's buffer, from which tmux itself hands it to the terminal (3.2 or newer)."""
    tmux = shutil.which("tmux")
    if tmux is None:
        return False
    try:
        done = run([tmux, "load-buffer", "-w", "-"], input=text, timeout=TMUX_SECONDS, encoding="utf-8")
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
