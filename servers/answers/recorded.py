"""Rounds of vLLM from the recorder inside it, with every node: the answer is streamed, its rows are read beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from spectui.servers.answers.base import Answer, Pieces, Question
from spectui.servers.answers.vllm import VllmReading
from spectui.servers.recordings.following import Following
from spectui.servers.recordings.joining import Begun, First, Happened, Over
from spectui.servers.recordings.texts import find_texts
from spectui.servers.rounds import ServerRound

WAIT_S = 5.0
"""For what the recorder writes after the answer's end, at most."""
POLL_S = 0.02
Spell = Callable[[Sequence[int]], Mapping[int, bytes]]
"""Id -> bytes of tokens, of those that are known."""


class RecordedReading(VllmReading):
    """Reads one streamed answer, and the rows of its request."""

    def __init__(self, question: Question, pieces: Pieces, following: Following, spell: Spell) -> None:
        super().__init__(question, pieces)
        self._name = f"spectui-{uuid4().hex[:16]}"
        self.headers = {"X-Request-Id": self._name}
        self._following, self._spell = following, spell
        self._over: Over | None = None
        self._spelled: set[int] = set()
        following.follow(self._name)

    def feed(self, event: Mapping[str, Any], at: float) -> list[ServerRound]:
        """The rounds that are written by now. Raises `ServerError` for rubbish."""
        super().feed(event, at)
        return self._rounds()

    def close(self) -> Answer:
        """The end, with the rounds that are written last."""
        rounds = self._rounds()
        deadline = time.monotonic() + WAIT_S
        while self._over is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
            rounds += self._rounds()
        self._following.leave(self._name)
        whole = self._over is not None and self._over.whole
        notes = () if whole else ("the recorder did not write all of its rows",)
        return self._answer(rounds, self._token_count(), *notes)

    def _rounds(self) -> list[ServerRound]:
        rounds = []
        for item in self._following.take(self._name):
            if isinstance(item, First):
                self._first = item.token
                self._keep([item.token])
            elif isinstance(item, Happened):
                self._keep([*item.round.tokens, *(node.token_id for node in item.round.nodes)])
                rounds.append(item.round)
            elif not isinstance(item, Begun):
                self._over = item
        return rounds

    def _keep(self, ids: Sequence[int]) -> None:
        new = [token for token in ids if token >= 0 and token not in self._spelled]
        if new:
            self._pieces.keep(self._spell(new))
            self._spelled.update(new)


def spelling_of(following: Following, name: str, ask: Spell) -> Spell:
    """Texts of tokens from the model's files, where those are on this machine, else by asking the server."""
    texts = find_texts(str(following.facts(name).get("model", "")))
    return ask if texts is None else texts.bytes_of


def sees_requests(following: Following, question: Callable[[Mapping[str, str]], object]) -> str:
    """The name of a question that the recorder wrote of; "" where it did not. `question` asks it with these headers."""
    name = f"spectui-{uuid4().hex[:16]}"
    following.follow(name)
    question({"X-Request-Id": name})
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if any(isinstance(item, Happened | Over) for item in following.take(name)):
            return name
        time.sleep(POLL_S)
    following.leave(name)
    return ""


def folder_words(folder: Path) -> str:
    """The reason for not reading a recording."""
    return (
        f"of a question asked, nothing was recorded in {folder}: name the folder that the server has as"
        " SPECTUI_VLLM_DIR (--vllm-dir)"
    )
