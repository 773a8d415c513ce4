"""The parts that all readers of answers share: what is asked for, what comes of it, pieces of text as tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from spectui.servers.errors import ServerError
from spectui.servers.rounds import ServerRound

CHAT = "/v1/chat/completions"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_REASONS = {"stop": "eos", "eos": "eos", "length": "length"}
"""``finish_reason`` of OpenAI's API -> `store.rows.FINISH_REASONS`."""


@dataclass(frozen=True)
class Question:
    """One prompt as it is sent."""

    model: str
    messages: tuple[Mapping[str, str], ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the request that the kind of server takes beside those of OpenAI's API."""

    def body(self) -> dict[str, Any]:
        """The request, streamed."""
        sampling: dict[str, Any] = {"temperature": self.temperature, "seed": self.seed}
        if self.temperature > 0:
            sampling["top_p"] = self.top_p
        return {
            "model": self.model,
            "messages": [dict(message) for message in self.messages],
            "max_tokens": self.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampling,
            **self.extra,
        }


@dataclass(frozen=True)
class Answer:
    """The end of an answer."""

    text: str
    reason: str
    """One of `store.rows.FINISH_REASONS`."""
    prompt_tokens: int | None
    tokens: int | None
    """Tokens of the answer, the first and an end token included."""
    rounds: tuple[ServerRound, ...]
    """Those that were not given while it streamed."""
    notes: tuple[str, ...] = ()
    """Sentences for the log of the run."""


class Reading(Protocol):
    """Reads one answer, event by event, in order."""

    path: str
    headers: Mapping[str, str]
    """Of the request, beside those that every one has."""

    def body(self) -> dict[str, Any]:
        """The request that is sent."""

    def feed(self, event: Mapping[str, Any], at: float) -> list[ServerRound]:
        """Rounds that an event completes; `at` is when it came, in seconds. Raises `ServerError` for rubbish."""

    def first_token(self) -> int | None:
        """Id of the token that came before all rounds; None as long as it is not known."""

    def close(self) -> Answer:
        """The end of the answer. Raises `ServerError` where it lacks what rounds are read from."""


class Pieces:
    """Ids for pieces of text, as a server tells no ids of tokens or none with their text; they hold for one session."""

    def __init__(self) -> None:
        self._ids: dict[bytes, int] = {}
        self._new: dict[int, bytes] = {}

    def id_of(self, text: str) -> int:
        """The id of a piece, the same for the same text."""
        data = text.encode("utf-8", "replace")
        known = self._ids.get(data)
        if known is None:
            known = self._ids[data] = len(self._ids)
            self._new[known] = data
        return known

    def load(self, tokens: Mapping[int, bytes]) -> None:
        """Take up pieces that an earlier worker has kept."""
        self._ids.update({data: token for token, data in sorted(tokens.items()) if token >= 0})

    def keep(self, tokens: Mapping[int, bytes]) -> None:
        """Take up tokens by ids of the server's own; a session has either these or pieces of ours."""
        self._new.update(tokens)

    def take_new(self) -> dict[int, bytes]:
        """Pieces that were not yet taken, by id."""
        new, self._new = self._new, {}
        return new


class Text:
    """The text of a streamed answer, and how it ended."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.reason: str | None = None
        """As the server says it; None before the end."""
        self.prompt_tokens: int | None = None
        self.tokens: int | None = None

    def feed(self, event: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """The piece of text in an event, and its choice; ("", {}) for one without. Raises `ServerError` for rubbish."""
        usage = event.get("usage")
        if isinstance(usage, Mapping):
            self.prompt_tokens = count_in(usage, "prompt_tokens")
            self.tokens = count_in(usage, "completion_tokens")
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return "", {}
        choice = choices[0]
        if not isinstance(choice, Mapping):
            raise ServerError("the answer streams a choice that is no object")
        if choice.get("finish_reason"):
            self.reason = str(choice["finish_reason"])
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return "", choice
        # Models that reason stream their thoughts under another name.
        thoughts = delta.get("reasoning_content") or delta.get("reasoning")
        piece = "".join(part for part in (thoughts, delta.get("content")) if isinstance(part, str))
        self._parts.append(piece)
        return piece, choice

    @property
    def whole(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def finish_reason(self, max_tokens: int) -> str:
        """The reason of the end, one of `store.rows.FINISH_REASONS`. Raises `ServerError` before the end."""
        if self.reason is None:
            raise ServerError("the answer ends without saying why", passing=True)
        reason = _REASONS.get(self.reason, "eos")
        if reason == "length" and self.tokens is not None and self.tokens < max_tokens:
            return "context"
        return reason


def count_in(table: Mapping[str, Any], name: str) -> int | None:
    """A count of an answer; None where there is none. Raises `ServerError` for anything but a count."""
    value = table.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ServerError(f"the answer's {name} is no count")
    return int(value)


def token_ids(event: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids of the tokens in an event, where the server tells them."""
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    ids = choice.get("token_ids") if isinstance(choice, Mapping) else None
    return tuple(each for each in ids if isinstance(each, int)) if isinstance(ids, list) else ()
