"""The writer of a replica: it writes nothing, but keeps what is to be written for the dispatcher to fetch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from spectui.decoding.replicas.messages import Batch, Operation
from spectui.store.records import RoundRecord

MOST = 256
"""Operations that wait to be fetched; then decoding waits."""
GATHER_SECONDS = 0.05
"""Time in which more may come once there is something to fetch: a request for each round would cost more than it."""
GATHER = 32
"""Operations that are not kept waiting for more."""
SUSPECT_SECONDS = 1.0
"""From here on, waiting for the dispatcher is no time of decoding: it writes to a full disk, or stands still."""
KNOWN = 1 << 62
"""More tokens than any vocabulary has: the dispatcher asks for them by itself."""


class Outbox:
    """A `decoding.worker.run_writer.RunWriter` between the thread that decodes and the one that answers requests.

    Commands go the other way: `tell` leaves one for `take_commands`.
    """

    def __init__(self, waiting: Callable[[float | None], None] = lambda since: None) -> None:
        self._waiting = waiting
        """Called with the time since which the dispatcher fetches nothing, and with None when it does again."""
        self._operations: deque[Operation] = deque()
        self._changed = threading.Condition()
        self._commands: list[str] = []
        self._choices: dict[tuple[str, str, str, str], int] = {}
        self._attempt = 0
        self._ended = True
        self._error = ""

    # For the dispatcher.

    def begin(self, attempt: int) -> None:
        """Begin an attempt at a prompt; what is left of an earlier one is dropped."""
        with self._changed:
            self._attempt, self._ended, self._error = attempt, False, ""
            self._operations.clear()
            self._commands.clear()
            self._changed.notify_all()

    def end(self, error: str = "") -> None:
        """Note that nothing more comes of the attempt."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def fetch(self, seconds: float) -> Batch:
        """Everything there is; waits so long for the first operation, and a moment for more."""
        with self._changed:
            self._changed.wait_for(lambda: self._operations or self._ended, seconds)
            if self._operations and not self._ended:
                self._changed.wait_for(lambda: len(self._operations) >= GATHER or self._ended, GATHER_SECONDS)
            operations = tuple(self._operations)
            self._operations.clear()
            self._changed.notify_all()
            return Batch(self._attempt, operations, self._ended, self._error if self._ended else "")

    def tell(self, command: str) -> None:
        """Leave a "pause", "resume", "skip" or "stop" for the decoding."""
        with self._changed:
            self._commands.append(command)

    # For the decoding.

    def _add(self, method: str, *arguments: Any, **options: Any) -> None:
        since: float | None = None
        with self._changed:
            begun = time.perf_counter()
            while len(self._operations) >= MOST:
                self._changed.wait(SUSPECT_SECONDS)
                if since is None and time.perf_counter() - begun >= SUSPECT_SECONDS:
                    since = begun
                    self._waiting(since)
            self._operations.append(Operation(method, arguments, options))
            if len(self._operations) == 1 or len(self._operations) >= GATHER:
                self._changed.notify_all()
        if since is not None:
            self._waiting(None)

    def commands_wait(self) -> bool:
        """See `RunWriter`."""
        return bool(self._commands)

    def take_commands(self) -> list[str]:
        """See `RunWriter`."""
        with self._changed:
            commands, self._commands = self._commands, []
        return commands

    def set_status(self, status: str, *, error: str | None = None) -> None:
        """The session's status is the dispatcher's."""

    def tokens_known(self, tokenizer_id: str) -> int:
        """Enough: the dispatcher asks one replica for all tokens."""
        return KNOWN

    def add_tokens(self, tokenizer_id: str, tokens: Mapping[int, bytes]) -> None:
        """Not asked for, see `tokens_known`."""

    def add_event(self, kind: str, text: str, generation_id: int | None = None) -> None:
        """See `RunWriter`."""
        self._add("add_event", kind, text, generation_id)

    def add_choice(self, task: str, tree: str, kind: str, reason: str) -> int:
        """See `RunWriter`; the number is the outbox's own, and the dispatcher knows the row's."""
        number = self._choices.setdefault((task, tree, kind, reason), len(self._choices) + 1)
        self._add("add_choice", number, task, tree, kind, reason)
        return number

    def add_baseline(self, ms_per_token: float, tokens: int, round_ms: float | None) -> None:
        """See `RunWriter`."""
        self._add("add_baseline", ms_per_token, tokens, round_ms)

    def start_generation(self, generation_id: int, prompt_tokens: int | None = None) -> None:
        """See `RunWriter`."""
        self._add("start_generation", generation_id, prompt_tokens)

    def restart_generation(self, generation_id: int) -> None:
        """See `RunWriter`."""
        self._add("restart_generation", generation_id)

    def record_round(self, generation_id: int, record: RoundRecord) -> None:
        """See `RunWriter`."""
        self._add("record_round", generation_id, record)

    def finish_generation(
        self,
        generation_id: int,
        status: str,
        *,
        output: str = "",
        error: str | None = None,
        finish_reason: str | None = None,
    ) -> None:
        """See `RunWriter`."""
        self._add(
            "finish_generation",
            generation_id,
            status,
            output=output,
            error=error,
            finish_reason=finish_reason,
        )
