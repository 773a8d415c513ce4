"""The worker of a session that replicas decode (``python -m spectui.decoding.replicas``)."""

from __future__ import annotations

import sys

from spectui.decoding.replicas.devices import AUTO
from spectui.decoding.worker.control import Control
from spectui.decoding.worker.heartbeat import StageReporter
from spectui.decoding.worker.process import command_line, main
from spectui.store.rows import SessionSummary
from spectui.store.writing.writer import SessionWriter


def worker(arguments: list[str] | None = None) -> int:
    """Run the session that the command line names; returns the exit code."""
    parser = command_line()
    parser.add_argument("--replicas", default=AUTO)
    parser.add_argument("--ray", default="")
    asked = parser.parse_args(arguments)

    def decode(
        writer: SessionWriter,
        control: Control,
        before: SessionSummary,
        files: dict[str, dict[str, str]],
        *,
        force: bool,
    ) -> None:
        """Have replicas decode."""
        from spectui.decoding.replicas.session import ReplicaRun

        progress = StageReporter(writer)
        run = ReplicaRun(
            writer, control, progress, before, files, replicas=asked.replicas, address=asked.ray, force=force
        )
        run.decode_prompts()

    return main(decode, asked)


if __name__ == "__main__":
    sys.exit(worker())
