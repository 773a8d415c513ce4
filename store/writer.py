"""What the worker writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from store.database import Connection
from store.records import RoundRecord


class PendingGeneration(NamedTuple):
    """A prompt still to be run."""

    id: int
    task: str
    prompt_text: str
    position: int
    prompt_id: str


class SessionWriter:
    """Records one session. May be used from several threads of the worker."""

    def __init__(self, db: Connection, session_id: int) -> None:
        raise NotImplementedError

    def claim(
        self, pid: int | None = None, host: str | None = None, pid_created: float | None = None
    ) -> None:
        """Make this process (the default) the session's worker; `StoreError` if another live one is."""

    def set_status(self, status: str, *, error: str | None = None) -> None:
        """Write the session's status; a final one sets `ended_at`."""

    def set_stage(
        self, stage: str, done: float | None = None, total: float | None = None, unit: str = ""
    ) -> None:
        """Say what the worker is doing and how far it is."""

    def heartbeat(
        self, cpu_percent: float | None, rss_bytes: int | None, gpu: Mapping[str, Any] | None = None
    ) -> None:
        """Say that the worker lives, and what it uses."""

    def describe(self, **columns: Any) -> None:
        """Set any of device, tokenizer_id, versions, baseline_ms, target, drafter, tree, log_path, notes."""

    def pending_generations(self) -> list[PendingGeneration]:
        """The prompts still to be run, in order."""
        raise NotImplementedError

    def start_generation(self, generation_id: int, prompt_tokens: int | None = None) -> None:
        """Mark a prompt as running."""

    def record_round(self, generation_id: int, record: RoundRecord) -> None:
        """Write a round, its nodes, the generation's sums and the rollups in one transaction."""

    def finish_generation(
        self,
        generation_id: int,
        status: str,
        *,
        output: str = "",
        error: str | None = None,
        finish_reason: str | None = None,
    ) -> None:
        """Mark a prompt as finished, skipped or failed (started or not)."""

    def add_tokens(self, tokenizer_id: str, tokens: Mapping[int, bytes]) -> None:
        """Keep the bytes of tokens; those known already are left as they are. Call before `record_round`."""

    def take_commands(self) -> list[str]:
        """Commands not yet taken, oldest first; cheap when there are none."""
        raise NotImplementedError
