"""Protects recording beside decoding: every round, in order, and no error that nobody hears of."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Finish, Round
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.worker.recorder import Recorder
from spectui.store.care.check import check
from spectui.store.database import open_database
from spectui.store.errors import BadRound
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord, RoundRecord
from spectui.store.rows import FINISH_REASONS
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.models import tiny_llama, tiny_tokenizer


class Gate(SessionWriter):
    """A writer that waits for a sign before each round."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.open = threading.Event()
        self.db = open_database(path)
        session = create_session(
            self.db, config_json=config.to_json(), target="t", drafter="d", tree=config.tree_spec,
            prompts=[PromptRecord("p", "code", "Tom is a cat")],
        )  # fmt: skip
        super().__init__(self.db, session)
        self.claim()
        self.generation = self.pending_generations()[0].id
        self.start_generation(self.generation, 1)

    def record_round(self, generation_id: int, record: RoundRecord) -> None:
        """Write it when the gate is open."""
        assert self.open.wait(30)
        super().record_round(generation_id, record)


@pytest.fixture(scope="module")
def decoder() -> SpeculativeDecoder:
    target = tiny_llama(layers=1)
    config = RunConfig(draft="itself", tree="full:2x2", max_new_tokens=24)
    return SpeculativeDecoder(config, models=LoadedModels(target, target, Vocabulary(tiny_tokenizer(), [])))


@pytest.fixture(scope="module")
def rounds(decoder: SpeculativeDecoder) -> list[Round]:
    rounds = list(decoder.generate("Tom is a cat"))
    assert len(rounds) > 3
    return rounds


@pytest.fixture
def gate(tmp_path: Path, decoder: SpeculativeDecoder) -> Gate:
    return Gate(tmp_path / "r.db", decoder.config)


def recorded(gate: Gate, path: Path) -> list[int]:
    with Reader(path) as reader:
        return [r.number for r in reader.rounds(gate.generation)]


def test_decoding_goes_on_while_a_round_is_written(
    gate: Gate, decoder: SpeculativeDecoder, rounds: list[Round], tmp_path: Path
) -> None:
    """`record` returns before anything is in the database, and `flush` not before all is."""
    recorder = Recorder(gate, decoder)
    recorder.record(gate.generation, rounds[0])
    assert recorded(gate, tmp_path / "r.db") == []
    gate.open.set()
    for round_ in rounds[1:]:
        recorder.record(gate.generation, round_)
    recorder.flush()
    assert recorded(gate, tmp_path / "r.db") == [r.number for r in rounds]
    gate.finish_generation(gate.generation, "finished", finish_reason="length")
    assert check(gate.db) == []


def test_what_went_wrong_is_raised_by_the_next_call_once(
    gate: Gate, decoder: SpeculativeDecoder, rounds: list[Round], tmp_path: Path
) -> None:
    """And the round that was to be written then is not: rounds of one prompt follow each other."""
    recorder = Recorder(gate, decoder)
    gate.open.set()
    broken = rounds[0].target_p.copy()
    broken[0] = float("nan")
    recorder.record(gate.generation, replace(rounds[0], target_p=broken))
    with pytest.raises(BadRound, match="target probability nan"):
        recorder.record(gate.generation, rounds[1])
    recorder.flush()
    assert recorded(gate, tmp_path / "r.db") == []


def test_every_way_in_which_an_output_ends_can_be_recorded() -> None:
    """The store refuses a reason that it does not know, and the prompt would be lost."""
    assert set(get_args(Finish)) <= set(FINISH_REASONS)
