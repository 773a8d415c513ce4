"""Protects: what goes wrong with one prompt is tried again or recorded with it, and the next one runs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.fingerprint import Basis, differences, digest, model_files
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.rounds import Round
from spectui.decoding.worker import baseline, prompt_runner
from spectui.decoding.worker.baseline import Baselines, total_ms
from spectui.decoding.worker.control import Control
from spectui.decoding.worker.idle import IdleTime
from spectui.decoding.worker.prompt_runner import PromptRunner, find_loop
from spectui.decoding.worker.run_writer import RunWriter
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.models import tiny_llama

TEXTS = ["Write a function.", "Tom is a cat."]
CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
)


class Undisturbed(Control):
    """Nobody asks for anything; leaves the signals of the tests' process alone."""

    def __init__(self) -> None:
        self.idle = IdleTime()

    def listen(self, writer: RunWriter) -> None:
        """Nobody speaks."""

    def due(self) -> bool:
        """Between any two rounds."""
        return True

    def check(self, writer: RunWriter, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Nothing to obey."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("runner") / "tiny"
    tiny_llama(folder)
    return RunConfig(target=str(folder), max_new_tokens=20, tree="recycling:8")


@pytest.fixture(scope="module")
def models(config: RunConfig) -> LoadedModels:
    return load_models(config)


class Ran:
    """Two prompts, decoded in this process."""

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        models: LoadedModels,
        after: Callable[[PromptRunner, Any], Baselines] | None = None,
    ) -> None:
        db = connect(path)
        session = create_session(
            db, config_json=config.to_json(), target="tiny", drafter="recycling", tree=config.tree,
            prompts=[PromptRecord(f"p-{i}", "chat", text) for i, text in enumerate(TEXTS)],
        )  # fmt: skip
        writer = SessionWriter(db, session)
        writer.claim()
        runner = PromptRunner(writer, Undisturbed(), config, models)
        if after is not None:
            runner.baselines = after(runner, db)
        for generation in writer.pending_generations():
            runner.run(generation)
        reader = Reader(db)
        self.prompts = reader.generations(session)
        self.events = [(event.kind, event.generation_id) for event in reader.events(session)]
        self.event_texts = [event.text for event in reader.events(session)]
        self.nodes = [{r.node_count for r in reader.rounds(g.id)} for g in self.prompts]
        self.problems = check(db)
        db.close()


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, config: RunConfig, models: LoadedModels) -> Run:
    return lambda name="runs", models=models: Ran(tmp_path / f"{name}.db", config, models)


def break_rounds(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> None:
    """Let the third round of the first `times` prompts fail."""
    generate = SpeculativeDecoder.generate
    failures = [times]

    def failing(self: SpeculativeDecoder, *arguments: Any, **options: Any) -> Iterator[Round]:
        for round_ in generate(self, *arguments, **options):
            if failures[0] and round_.number == 3:
                failures[0] -= 1
                raise error
            yield round_

    monkeypatch.setattr(SpeculativeDecoder, "generate", failing)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(CPU_ALLOCATOR)]
)
def test_without_memory_a_prompt_is_decoded_once_more_with_the_smallest_tree(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    expected = [prompt.output for prompt in run("undisturbed").prompts]
    break_rounds(monkeypatch, error, times=1)
    ran = run()
    assert [prompt.output for prompt in ran.prompts] == expected
    assert [prompt.status for prompt in ran.prompts] == ["finished", "finished"]
    assert ran.nodes == [{1}, {8}]
    assert ran.events == [("memory", ran.prompts[0].id)]
    assert ran.problems == []


def test_without_memory_for_that_either_the_prompt_has_failed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rounds(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"), times=2)
    ran = run()
    assert [prompt.status for prompt in ran.prompts] == ["failed", "finished"]
    assert ran.prompts[0].error == "OutOfMemoryError: CUDA out of memory"
    assert ran.nodes[1] == {8}
    assert ran.problems == []


def test_a_capture_that_fails_is_an_event_of_the_session_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run("eager")
    real = Graphs.__init__

    def as_on_a_gpu(self: Graphs, device: torch.device, *, refused: str = "") -> None:
        real(self, torch.device("cuda"), refused=refused)

    def fails(self: Graphs, function: Callable[[], Any]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setenv("SPECTUI_STATIC", "1")
    monkeypatch.setattr(Graphs, "__init__", as_on_a_gpu)
    monkeypatch.setattr(Graphs, "_capture", fails)
    ran = run()
    assert ran.events == [("capture", None)]
    assert "operation not permitted when stream is capturing" in ran.event_texts[0]
    assert [prompt.output for prompt in ran.prompts] == [prompt.output for prompt in expected.prompts]
    assert (expected.events, ran.problems) == ([], [])


def test_any_other_error_fails_the_prompt_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    break_rounds(monkeypatch, RuntimeError("a kernel\nfailed"), times=1)
    ran = run()
    assert [prompt.status for prompt in ran.prompts] == ["failed", "finished"]
    assert (ran.prompts[0].error, ran.events) == ("RuntimeError: a kernel failed", [])
    assert ran.prompts[0].round_count == 2  # what there was stays
    assert ran.problems == []


def test_a_tokenizer_that_cannot_decode_fails_the_prompt_and_keeps_its_rounds(
    run: Run, models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undecodable(_: object) -> str:
        raise KeyError(17)

    monkeypatch.setattr(models.tokenizer, "decode", undecodable)
    ran = run()
    assert [prompt.status for prompt in ran.prompts] == ["failed", "failed"]
    assert ran.prompts[0].error == "the tokenizer cannot decode the output: KeyError: 17"
    assert ran.prompts[0].round_count > 0
    assert ran.problems == []


def test_a_text_that_ends_in_a_loop_is_noted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_runner, "find_loop", lambda tokens: (3, len(tokens) - 12))
    ran = run()
    assert ran.events == [("repetition", prompt.id) for prompt in ran.prompts]
    assert [prompt.status for prompt in ran.prompts] == [
        "finished",
        "finished",
    ]  # as any other decoder ends it


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        ([*range(30), *[7] * 64], (1, 30)),
        ([*range(30), *[7] * 63], None),  # too short to be sure
        ([1, 2, 3] * 30, (3, 0)),
        ([9, *[1, 2, 3] * 30, 1], (3, 1)),
        ([*range(100)] * 3, None),  # three times may be a list
        ([*range(100)] * 4, (100, 0)),
        ([*[5] * 200, 6], None),  # it came out of the loop
        (list(range(500)), None),
        ([], None),
    ],
)
def test_what_counts_as_a_loop(tokens: list[int], loop: tuple[int, int] | None) -> None:
    assert find_loop(tokens) == loop


def test_every_difference_is_named() -> None:
    then = Basis(
        {"torch": "2.13", "python": "3.11"}, "cpu", {"target": {"a": "1", "b": "2"}, "draft": {"c": "3"}}
    )
    assert differences(then, then) == []
    now = replace(
        then,
        versions={"torch": "2.14", "python": "3.11"},
        device="cuda:0",
        files={"target": {"a": "9", "d": "4"}},
    )
    assert differences(then, now) == [
        "torch was 2.13 and is 2.14",
        "the device was cpu and is cuda:0",
        "the draft's c is gone",
        "the target's a has changed",
        "the target's b is gone",
        "the target's d is new",
    ]


def test_files_are_told_apart_by_what_is_in_them(config: RunConfig, tmp_path: Path) -> None:
    files = model_files(config)
    assert set(files) == {"target"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files["target"])
    one, other = tmp_path / "one.bin", tmp_path / "other.bin"
    one.write_bytes(bytes(40 << 20))
    other.write_bytes(bytes(40 << 20))
    assert digest(one) == digest(other)
    for place in (0, (40 << 20) - 1):  # the first and the last byte of a file too large to be read whole
        other.write_bytes(bytes(place) + b"x" + bytes((40 << 20) - place - 1))
        assert digest(one) != digest(other)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_plain_decoding_between_two_rounds_changes_nothing(
    tmp_path: Path, config: RunConfig, models: LoadedModels, temperature: float
) -> None:
    """It comes when the round is in the database and nothing is being written, and leaves no trace."""
    config, seen = config.changed(temperature=temperature), list[tuple[int, float]]()

    class Always(Baselines):
        due = True

    def always(runner: PromptRunner, db: Any) -> Baselines:
        session = Reader(db).session("last").id

        def measure(prompt: str) -> float:
            assert prompt in TEXTS
            plain = runner.decoder.plain_round()
            assert len(plain.tokens) == 1
            seen.append((Reader(db).session(session).rounds, total_ms(plain)))
            return total_ms(plain)

        return Always(measure, 1, lambda *_: None, lambda _: None)

    undisturbed = Ran(tmp_path / "undisturbed.db", config, models)
    measured = Ran(tmp_path / "measured.db", config, models, always)
    assert [p.output for p in measured.prompts] == [p.output for p in undisturbed.prompts]
    counts = [p.round_count for p in measured.prompts]
    assert counts == [p.round_count for p in undisturbed.prompts]
    # After each round of a prompt but its last.
    assert [rounds for rounds, _ in seen] == [*range(1, counts[0]), *range(counts[0] + 1, sum(counts))]
    assert min(ms for _, ms in seen) > 0


def test_rounds_in_which_something_was_captured_are_compared_with_no_baseline(
    tmp_path: Path, config: RunConfig, models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, compared = SpeculativeDecoder.generate, list[int]()

    def capturing(self: SpeculativeDecoder, *arguments: Any, **options: Any) -> Iterator[Round]:
        for round_ in generate(self, *arguments, **options):
            yield replace(round_, captured=round_.number == 1)

    class Seeing(Baselines):
        due = False

        def add_round(self, ms: float, nodes: int) -> None:
            compared.append(nodes)

    monkeypatch.setattr(SpeculativeDecoder, "generate", capturing)
    seeing = Seeing(lambda _: 1.0, 1, lambda *_: None, lambda _: None)
    ran = Ran(tmp_path / "runs.db", config, models, lambda *_: seeing)
    assert len(compared) == sum(prompt.round_count - 1 for prompt in ran.prompts) > 0


@pytest.mark.parametrize("fails", [False, True])
def test_plain_decoding_between_prompts_leaves_no_cache_behind(
    config: RunConfig, models: LoadedModels, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """On fixed sizes, where it has a cache of its own; only the garbage collector finds it."""
    monkeypatch.setenv("SPECTUI_STATIC", "1")
    decoder, made = SpeculativeDecoder(config, models=models), list[weakref.ref[Any]]()
    make = baseline.plain_decoder

    def watched(decoder: SpeculativeDecoder) -> SpeculativeDecoder:
        plain = make(decoder)
        assert isinstance(plain.target, BufferedModel)
        made.append(weakref.ref(plain.target._cache))
        return plain

    monkeypatch.setattr(baseline, "plain_decoder", watched)
    gc.disable()
    try:
        if fails:
            break_rounds(monkeypatch, RuntimeError("a kernel failed"), times=1)
            with pytest.raises(RuntimeError, match="a kernel failed"):
                baseline.plain_ms_per_token(decoder, TEXTS[0], 6)
        else:
            assert baseline.plain_ms_per_token(decoder, TEXTS[0], 6) > 0.0
    finally:
        gc.enable()
    assert [each() for each in made] == [None]
