"""Workers of real runs, and dashboards on them, killed at random moments; every invariant checked each time.

python -m tests.bench.kills [--kills 200] [--seed S]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.decoding.worker.kills import kill_again_and_again
from tests.decoding.worker.workers import Worked, make_model
from tests.tui.terminal.pty import DASHBOARD, Terminal

TOKENS = 60
EACH_DASHBOARD = 5
"""Kills between two dashboards that are killed too."""


@contextlib.contextmanager
def dashboards() -> Iterator[list[Terminal]]:
    """The open dashboards; closed in the end."""
    opened: list[Terminal] = []
    try:
        yield opened
    finally:
        for terminal in opened:
            terminal.close()


def main() -> int:
    """Kill, print what came of it, and return 1 when anything was lost or wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261124)
    args = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name, dashboards() as opened:
        folder = Path(name)
        model = folder / "tiny"
        make_model(model)
        whole = Worked(folder, model, "whole", max_new_tokens=TOKENS)
        whole.work()
        assert whole.ended() == 0, whole.log_text()

        def beside(session: Worked, kill: int) -> None:
            """Every so often a dashboard is opened on the session, and dies together with its worker."""
            if kill % EACH_DASHBOARD:
                return
            for terminal in opened:
                os.kill(terminal.pid, signal.SIGKILL)
                terminal.close()
            argv = [sys.executable, "-c", DASHBOARD, str(session.database), str(session.id)]
            opened[:] = [Terminal(argv, columns=120, rows=40)]
            print(f"{kill} kills, {time.monotonic() - begun:.0f} s", flush=True)

        kills = kill_again_and_again(
            lambda called: Worked(folder, model, called, max_new_tokens=TOKENS),
            whole.outputs(),
            args.kills,
            random.Random(args.seed),
            beside,
        )
        whole.close()
    for problem in kills.problems:
        print(problem)
    print(kills)
    return 1 if kills.problems or kills.rounds_lost else 0


if __name__ == "__main__":
    sys.exit(main())
