"""Protects: bad input is one line of error, and nothing that a model, file or database holds steers a terminal.

A few hundred of the cases of ``python -m tests.bench.fuzz``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from spectui.tui.model.transcript import Transcript
from spectui.tui.terminal.textsafe import sanitize
from tests.fuzz.run import fuzz
from tests.fuzz.strategies import HOSTILE
from tests.fuzz.targets import STEERS
from tests.tui.replay import Recording
from tests.tui.terminal.pty import dashboard
from tests.waiting import until

CASES = 200


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTUI_LOGS", str(tmp_path))
    assert fuzz(tmp_path, CASES, 20261124) >= CASES * 0.9


def test_a_megabyte_without_a_space_and_every_character_there_is() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    for text in ("x" * 1_000_000, "漢" * 100_000, "\x1b[31m" * 100_000, everything):
        transcript = Transcript(80)
        transcript.append("accepted", sanitize(text), 1)
        shown = [part for y in range(transcript.line_count) for _, part, _ in transcript.line(y)]
        assert STEERS.search("".join(shown)) is None
        assert "".join(shown).replace("\n", "") == sanitize(text).replace("\n", "")


def test_the_dashboard_passes_nothing_on_to_the_terminal(tmp_path: Path) -> None:
    """A real terminal, and a session whose every text would like to steer it."""
    hostile = " ".join(HOSTILE).encode("utf-8", "replace").decode()
    database = tmp_path / "runs.db"
    recording = Recording(
        database,
        tasks=("code",),
        prompts=2,
        texts={"code": f"Begin {hostile} the end of it.\n"},
        questions={"code": hostile},
    )
    recording.begin()
    recording.prompt(tokens=200)
    recording.fail_prompt(hostile)
    # What no command of ours would write, a file from elsewhere may hold.
    recording.db.execute(
        "UPDATE session SET name = ?1, notes = ?1, target = ?1, drafter = ?1, tree = ?1, device = ?1, error = ?1,"
        " stage = ?1, log_path = ?1",
        (hostile,),
    )
    recording.end("failed", error=hostile)
    recording.close()
    for session in (recording.id, None):
        with dashboard(database, session) as terminal:
            terminal.wait_for("failed" if session is None else "The run failed")
            for key in "v\x1b[D[]4x1h":
                terminal.press(key)
            until(lambda terminal=terminal: time.monotonic() - terminal.last_write() > 1.0)  # type: ignore[misc]
            written = terminal.output()
        assert b"\x1b]52" not in written
        assert b"\x1b]0;title" not in written
        assert b"\x9b31m" not in written.replace("⟨009B⟩31m".encode(), b"")
        assert b"\x1b[31mred" not in written
        shown = written.decode("utf-8", "replace")
        assert "␛" in shown
        for steering in "\x00\x08\x7f\u009b\u009d\u202e\u2066":
            assert steering not in shown, ascii(steering)
