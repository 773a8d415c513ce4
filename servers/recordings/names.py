"""Names of requests and reasons of their ends, as a session has them."""

from __future__ import annotations

import re

from spectui.servers.recordings.rows import End, Request
from spectui.store.records import Cut

UNTAGGED = "untagged"
"""The task of requests that name none."""
_ENGINE_ID = re.compile(r"(?:(\d+)_)?(?:chatcmpl|cmpl|resp)-(.+?)(?:-[0-9a-f]{8})?")
_REASONS: dict[str, Cut] = {
    "FINISHED_STOPPED": "eos",
    "FINISHED_LENGTH_CAPPED": "length",
    # SGLang's, which finds texts that end an answer in its engine.
    "FINISH_MATCHED_TOKEN": "eos",
    "FINISH_MATCHED_STR": "eos",
    "FINISHED_MATCHED_REGEX": "eos",
    "FINISH_LENGTH": "length",
}
_FAILURES = {
    "FINISHED_IGNORED": "the server did not take it: its prompt is too long",
    "FINISHED_ERROR": "the server failed",
}


def names_of(request: Request) -> tuple[str, str]:
    """The prompt's id and its task: the client's, else from an id such as ``code/12``.

    vLLM's own id of a request holds the client's ``X-Request-Id``.
    """
    match = _ENGINE_ID.fullmatch(request.id)
    choice, name = (match[1], match[2]) if match else (None, request.id)
    task, slash, rest = name.partition("/")
    prompt_id = f"{name}#{choice}" if choice is not None else name
    return prompt_id, request.task or (task if slash and task and rest else UNTAGGED)


def cut_of(end: End | None) -> Cut:
    """The reason that a path was cut, by its request's end, if that is known."""
    return "eos" if end is None else _REASONS.get(end.status, "eos")


def reason_of(end: End, most_tokens: int | None) -> str | None:
    """One of `store.rows.FINISH_REASONS`; None of a request that was broken off, or of vLLM stopped by a text."""
    reason = _REASONS.get(end.status)
    if reason == "length" and most_tokens is not None and end.tokens < most_tokens:
        return "context"
    return reason


def failure_of(end: End) -> str | None:
    """The reason that a request failed; None of one that did not."""
    return _FAILURES.get(end.status)
