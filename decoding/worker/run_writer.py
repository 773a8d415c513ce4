"""The writing that decoding a prompt takes: the session's writer does it, or a replica's outbox passes it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from spectui.store.records import RoundRecord


class RunWriter(Protocol):
    """Methods of `store.writing.writer.SessionWriter` that decoding calls."""

    def set_status(self, status: str, *, error: str | None = None) -> None:
        """Write the session's status."""

    def commands_wait(self) -> bool:
        """True when there are commands to take."""

    def take_commands(self) -> list[str]:
        """Commands not yet taken, oldest first."""

    def add_event(self, kind: str, text: str, generation_id: int | None = None) -> None:
        """Keep an event of the run or of one prompt."""

    def add_choice(self, task: str, tree: str, kind: str, reason: str) -> int:
        """Keep that a task has a tree from now on; returns the id that rounds name it by."""

    def add_baseline(self, ms_per_token: float, tokens: int, round_ms: float | None) -> None:
        """Keep a measurement of plain decoding."""

    def tokens_known(self, tokenizer_id: str) -> int:
        """The number of tokens whose bytes are kept."""

    def add_tokens(self, tokenizer_id: str, tokens: Mapping[int, bytes]) -> None:
        """Keep the bytes of tokens."""

    def start_generation(self, generation_id: int, prompt_tokens: int | None = None) -> None:
        """Mark a pending prompt as running."""

    def restart_generation(self, generation_id: int) -> None:
        """Make a running prompt pending again, without its rounds."""

    def record_round(self, generation_id: int, record: RoundRecord) -> None:
        """Write a round."""

    def finish_generation(
        self,
        generation_id: int,
        status: str,
        *,
        output: str = "",
        error: str | None = None,
        finish_reason: str | None = None,
    ) -> None:
        """Mark a prompt as ended."""
