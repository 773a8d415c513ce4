"""Synthetic runs written through the store's own writer: whole at once, or at a given rate as a process.

python -m tests.tui.replay --db F --rate 60 --prompts 12 --tokens 400
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from spectui.decoding.config import RunConfig
from spectui.store.database import connect
from spectui.store.records import PromptRecord, RoundRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.tui.synthetic import ACCEPTANCE, TEXTS, TOKENIZER, Vocabulary, rounds

PROMPTS = {
    "code": "Write a function that merges two sorted lists without calling sorted().",
    "math": "A basket holds some apples. Three times as many and four more make nineteen. How many?",
    "logic": "Anna is taller than Bert and Bert is taller than Carl. Who is the shortest? Explain each step.",
    "chat": "Any ideas for a calm weekend?",
}

ROUND_MS = 40.0
"""Of the rounds beside a measurement of plain decoding."""


class Recording:
    """A session being written. Texts and prompts may be replaced to try others."""

    def __init__(
        self,
        database: Path,
        *,
        name: str = "quiet-heron",
        tasks: Sequence[str] = tuple(TEXTS),
        prompts: int = 8,
        tree: str = "full:3x2",
        texts: dict[str, str] | None = None,
        questions: dict[str, str] | None = None,
        draft_probabilities: bool = True,
    ) -> None:
        self.texts = TEXTS | (texts or {})
        self.tree = tree
        self.draft_probabilities = draft_probabilities
        self.vocabulary = Vocabulary()
        self.db = connect(database)
        asked = PROMPTS | (questions or {})
        records = [
            PromptRecord(f"{task}-{i:03d}", task, asked.get(task, f"A question about {task}."))
            for i in range(prompts)
            for task in [tasks[i % len(tasks)]]
        ]
        self.id = create_session(
            self.db,
            name=name,
            config_json=RunConfig().to_json(),
            target="SmolLM2-135M-Instruct",
            drafter="recycling",
            tree=tree,
            prompts=records,
        )
        self.writer = SessionWriter(self.db, self.id)
        self.queue = self.writer.pending_generations()
        self._made: Iterator[RoundRecord] = iter(())

    def begin(self) -> None:
        """Claim the session for this process and say that it runs."""
        self.writer.claim()
        self.writer.describe(device="cpu", tokenizer_id=TOKENIZER)
        self._plain = [38.1, 36.9, 41.2]
        self.writer.heartbeat(191.0, 1_310_000_000)
        self.writer.set_status("running")

    def prompt(self, *, tokens: int = 96, rate: float | None = None, finish: str | None = "finished") -> int:
        """Decode the next prompt, at `rate` tokens a second or at once; returns its generation's id."""
        generation = self.queue.pop(0)
        self.writer.start_generation(generation.id, 40)
        text = self.texts.get(generation.task, f"Something about {generation.task}, at some length.\n")
        self._made = rounds(
            text,
            self.vocabulary,
            seed=generation.position,
            tree=self.tree,
            acceptance=ACCEPTANCE.get(generation.task, 0.5),
            draft_probabilities=self.draft_probabilities,
        )
        self.go_on(generation.id, tokens=tokens, rate=rate)
        if finish:
            output = text.encode("utf-8", "replace").decode()
            self.writer.finish_generation(generation.id, finish, output=output, finish_reason="length")
        return generation.id

    def go_on(self, generation_id: int, *, tokens: int, rate: float | None = None) -> int:
        """Decode at least so many tokens more of the prompt; returns how many it were."""
        due = beat = time.monotonic()
        done = 0
        while done < tokens:
            record = next(self._made)
            done += record.accepted_length + 1
            self.writer.add_tokens(TOKENIZER, self.vocabulary.table)
            self.writer.record_round(generation_id, record)
            while self._plain:
                self.writer.add_baseline(self._plain.pop(), 1, ROUND_MS)
            if rate:
                due += (record.accepted_length + 1) / rate
                time.sleep(max(due - time.monotonic(), 0))
                if due - beat >= 1.0:  # as a worker does
                    beat = due
                    self.writer.heartbeat(191.0, 1_310_000_000, round_at=self.writer.round_at)
        return done

    def fail_prompt(self, error: str) -> int:
        """Let the next prompt fail."""
        generation = self.queue.pop(0)
        self.writer.start_generation(generation.id, 40)
        self.writer.finish_generation(generation.id, "failed", error=error)
        return generation.id

    def end(self, status: str = "finished", *, error: str | None = None) -> None:
        """Say that the run is over."""
        self.writer.set_status(status, error=error)

    def close(self) -> None:
        """Close the database."""
        self.db.close()


def main() -> None:
    """Write a session at a rate until it is done or told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--tree", default="full:3x2")
    args = parser.parse_args()
    recording = Recording(args.db, prompts=args.prompts, tree=args.tree)
    recording.begin()
    print(recording.id, os.getpid(), flush=True)
    while recording.queue:
        recording.prompt(tokens=args.tokens, rate=args.rate)
        if "stop" in recording.writer.take_commands():
            recording.end("stopped")
            return
        recording.writer.heartbeat(191.0, 1_310_000_000)
    recording.end()


if __name__ == "__main__":
    main()
