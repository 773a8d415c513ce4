"""Greedy outputs of a server, token by token, with the log probabilities that it gives beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectui.servers.client import Client
from spectui.servers.errors import ServerError

CHAT = "/v1/chat/completions"
TOP = 10
"""Likeliest tokens asked for beside each."""


@dataclass(frozen=True)
class Choice:
    """A token that the server found likely."""

    id: int | None
    piece: bytes
    logprob: float


@dataclass(frozen=True)
class Token:
    """One token of an output."""

    id: int | None
    """None where the server does not tell it."""
    piece: bytes
    """Its bytes; of an end token, b""."""
    is_end: bool = False
    choices: tuple[Choice, ...] = ()
    """The target's likeliest tokens there, the best first; empty where the server gives none that are right."""

    def same(self, other: Token | Choice) -> bool:
        """True for the same token, by id where both have one."""
        return _same(self, other)

    def logprob_of(self, other: Token | Choice) -> float | None:
        """The log probability that the server gives another token here; None for one not among its likeliest."""
        return next((each.logprob for each in self.choices if _same(other, each)), None)

    @property
    def rival(self) -> Choice | None:
        """The likeliest token beside itself."""
        return next((each for each in self.choices if not self.same(each)), None)

    def gap_to(self, rival: Token | Choice) -> float | None:
        """Its log probability less that of another token, in nats; None where one of them is not known."""
        known = self.logprob, self.logprob_of(rival)
        return None if known[0] is None or known[1] is None else known[0] - known[1]

    @property
    def logprob(self) -> float | None:
        """Its own log probability; None where the server gives none that is right."""
        return self.logprob_of(self)


@dataclass(frozen=True)
class Output:
    """A whole output. With an end token it ends with that, and else with the limit of tokens."""

    tokens: tuple[Token, ...]
    prompt_tokens: int | None
    failure: str = ""
    """The reason that there is none."""

    @property
    def ended(self) -> bool:
        """True where an end token stands at its end."""
        return bool(self.tokens) and self.tokens[-1].is_end

    @property
    def spoken(self) -> tuple[Token, ...]:
        """The tokens without an end token."""
        return self.tokens[:-1] if self.ended else self.tokens


def ask(client: Client, model: str, messages: Sequence[Mapping[str, str]], max_tokens: int) -> Output:
    """The output of a server to a prompt, at temperature 0. Raises `ServerError`."""
    body = {
        "model": model,
        "messages": [dict(message) for message in messages],
        "max_tokens": max_tokens,
        "temperature": 0,
        "seed": 0,
        "logprobs": True,
        "top_logprobs": TOP,
        "return_token_ids": True,
    }
    answer = client.post(CHAT, body)
    try:
        return read_output(answer)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(
            f"{client.address} does not give the tokens of an answer (logprobs); they are what an audit compares"
        ) from error


def read_output(answer: Any) -> Output:
    """The output in an answer to a chat with log probabilities. Raises as wrong JSON does, or `ServerError`."""
    choice = answer["choices"][0]
    reason, message = choice["finish_reason"], choice["message"]
    if reason not in ("stop", "length"):
        raise ServerError(f"an answer ended with '{str(reason)[:40]}', neither an end token nor the limit")
    entries = choice["logprobs"]["content"]
    ids = choice.get("token_ids")
    ids = ids if isinstance(ids, list) and len(ids) == len(entries) else [None] * len(entries)
    tokens = [_token(entry, known) for entry, known in zip(entries, ids, strict=True)]
    if reason == "stop":
        text = "".join(str(message.get(name) or "") for name in ("reasoning_content", "reasoning", "content"))
        written = b"".join(token.piece for token in tokens)
        # An end token is listed with its name, with no text, or not at all.
        listed = bool(tokens) and (
            not tokens[-1].piece or len(written) > len(text.encode("utf-8", "replace"))
        )
        last = tokens.pop() if listed else Token(None, b"")
        tokens.append(Token(last.id, b"", is_end=True, choices=last.choices))
    usage = answer.get("usage") or {}
    prompt = usage.get("prompt_tokens")
    return Output(tuple(tokens), prompt if isinstance(prompt, int) else None)


def _same(a: Token | Choice, b: Token | Choice) -> bool:
    if a.id is not None and b.id is not None:
        return a.id == b.id
    return a.piece == b.piece


def _token(entry: Mapping[str, Any], known: object) -> Token:
    top = entry.get("top_logprobs") or ()
    choices = tuple(Choice(_id(each), _piece(each), float(each["logprob"])) for each in top)
    return Token(
        known if isinstance(known, int) else _id(entry),
        _piece(entry),
        choices=tuple(sorted(choices, key=lambda each: -each.logprob)),
    )


def _id(entry: Mapping[str, Any]) -> int | None:
    value = entry.get("id")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _piece(entry: Mapping[str, Any]) -> bytes:
    data = entry.get("bytes")
    if isinstance(data, list):
        return bytes(data)
    return str(entry["token"]).encode("utf-8", "replace")
