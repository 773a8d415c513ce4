"""What every view reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from store.database import Connection
from store.rows import GenerationRow, Interval, RoundRow, SessionSummary, TaskFigures


class Reader:
    """Reads a database that others may be writing. A path is opened read-only and closed by `close()`."""

    def __init__(self, source: Path | str | Connection) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close what was opened here."""

    def changed(self) -> bool:
        """Whether anything was committed since last asked (True the first time); costs microseconds.

        A worker that dies commits nothing: look at `session()` now and then even when this is False.
        """
        raise NotImplementedError

    def sessions(self) -> list[SessionSummary]:
        """All sessions, the newest first."""
        raise NotImplementedError

    def session(self, ref: int | str) -> SessionSummary:
        """By id, name or "last"; `StoreError` names the closest when there is none."""
        raise NotImplementedError

    def generations(self, session_id: int, *, texts: bool = True) -> list[GenerationRow]:
        """All prompts of a session in order; with `texts` False, prompt_text and output are ""."""
        raise NotImplementedError

    def generation(self, generation_id: int) -> GenerationRow:
        """One prompt, with its texts."""
        raise NotImplementedError

    def rounds(self, generation_id: int, after: int = 0, limit: int | None = None) -> list[RoundRow]:
        """Rounds numbered above `after`, ascending, with their nodes."""
        raise NotImplementedError

    def tokens(self, tokenizer_id: str, ids: Iterable[int]) -> dict[int, bytes]:
        """Bytes of those tokens that are known."""
        raise NotImplementedError

    def figures(self, session_id: int) -> dict[str, TaskFigures]:
        """Figures per task from the rollups alone, tasks in the order in which they first appear."""
        raise NotImplementedError

    def intervals(self, session_id: int, metric: str = "mean_accepted_length") -> dict[str, Interval]:
        """95 % per task of a `metrics.RATIOS` metric; tasks with fewer than two prompts are left out."""
        raise NotImplementedError

    def pending_commands(self, session_id: int) -> list[str]:
        """Commands the worker has not taken yet, oldest first."""
        raise NotImplementedError
