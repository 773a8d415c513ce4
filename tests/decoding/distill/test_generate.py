"""Training text: slots must give what the model gives alone, and shards must survive a kill."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.distill import prompts, shards
from spectui.decoding.distill.config import DistillConfig
from spectui.decoding.distill.generate import Template, Writer, generate, loop_start
from spectui.decoding.distill.slots import SlotModel
from spectui.decoding.distill.writers import goals
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.tokens.vocabulary import Vocabulary
from tests.models import tiny_llama, tiny_tokenizer

LAYERS = (0, 1, 2)


def tiny() -> Any:
    return tiny_llama(layers=4, vocab_size=384).eval()


@torch.inference_mode()
def test_slots_give_what_the_model_gives_alone() -> None:
    """Sequences of different lengths that start at different steps, through several sortings."""
    model, lone = tiny(), tiny()
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 384, size=n).tolist() for n in (5, 40, 17, 70, 33, 64, 9)]
    slots = SlotModel(model, LAYERS, 3, 80)
    waiting, running = list(range(len(texts))), [(-1, 0)] * 3
    seen: dict[int, list[tuple[int, torch.Tensor, torch.Tensor]]] = {i: [] for i in range(len(texts))}
    while waiting or any(which >= 0 for which, _ in running):
        running = [(waiting.pop(0), 0) if which < 0 and waiting else (which, at) for which, at in running]
        tokens = [texts[which][at] if which >= 0 else 0 for which, at in running]
        best = slots.step(tokens, [at for _, at in running])[:, 0]
        for row, (which, at) in enumerate(running):
            if which >= 0:
                seen[which].append((int(best[row]), slots.features[row], slots.final[row]))
                running[row] = (which, at + 1) if at + 1 < len(texts[which]) else (-1, 0)
    for which, text in enumerate(texts):
        out = lone(torch.tensor([text]), output_hidden_states=True)
        assert [b for b, _, _ in seen[which]] == out.logits[0].argmax(-1).tolist()
        features = torch.stack([f for _, f, _ in seen[which]])
        for column, layer in enumerate(LAYERS):
            torch.testing.assert_close(features[:, column], out.hidden_states[layer][0], rtol=1e-4, atol=1e-4)
        final = torch.stack([f for _, _, f in seen[which]])
        torch.testing.assert_close(final, out.hidden_states[-1][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("tokens", "cut"),
    [
        ([1, 2, 3, 4], None),
        ([5, *([7] * 16)], 2),
        ([5, *([7] * 15)], None),
        ([1, 2, *([3, 4, 5] * 6)], 5),
        ([9, *(list(range(40)) * 3)], 41),
        (list(range(100)), None),
    ],
)
def test_a_loop_is_cut_after_its_first_turn(tokens: list[int], cut: int | None) -> None:
    assert loop_start(tokens) == cut


def test_the_template_is_cut_where_the_user_speaks() -> None:
    vocabulary = Vocabulary(tiny_tokenizer(), [])
    template = Template.of(vocabulary)
    rebuilt = vocabulary.tokenizer(template.before + "Hello.", add_special_tokens=False)["input_ids"]
    assert [*rebuilt, *template.after] == vocabulary.encode_prompt("Hello.")
    assert Template.of(Vocabulary(tiny_tokenizer(chat=False), [])) == Template("", [])


def test_starts_are_the_same_whenever_asked_for() -> None:
    assert [prompts.start(3, n) for n in range(40)] == [prompts.start(3, n) for n in range(40)]
    assert {prompts.start(3, n).task for n in range(40)} == set(prompts.tasks())
    assert all("{" not in prompts.start(1, n).text or "code" in prompts.start(1, n).task for n in range(400))


def test_the_test_prompts_stay_out() -> None:
    from spectui import prompts as bundled_prompts

    text = next(p.text for p in bundled_prompts.bundled() if len(p.text.split()) > 12)
    guard = prompts.Guard([text])
    assert not guard.allows("Well: " + text.upper())
    assert guard.allows("Write a haiku about the sea and the men who sail on it for a living.")


def test_generation_goes_on_where_it_was(tmp_path: Path) -> None:
    """A second call adds other sequences behind the finished shards and does not touch those."""
    vocabulary = Vocabulary(tiny_tokenizer(), [])
    said: list[dict[str, Any]] = []

    def run(tokens: int) -> shards.Shards:
        config = DistillConfig(slots=8, max_new_tokens=24, prompt_tokens=224, dtype="float32")
        generate(
            config, tiny(), vocabulary, tmp_path, tokens, deadline=time.monotonic() + 100,
            log=lambda stage, **values: said.append({"stage": stage, **values}),
        )  # fmt: skip
        return shards.Shards(tmp_path)

    first = run(1000)
    before = [first.files[0].read_bytes()]
    # As if one before it had been damaged, and deleted as the message says.
    first.files[0].rename(tmp_path / "shard-00001.safetensors")
    second = run(1600)
    assert first.response_tokens >= 1000
    assert second.response_tokens >= 1600
    assert second.files[0].read_bytes() == before[0]
    assert len(set(second.index[:, 5])) == len(second)
    assert said[-1]["response_tokens"] == second.response_tokens
    lone = tiny()
    for which in (0, len(second) - 1):
        known = second.sequence(which)
        with torch.inference_mode():
            out = lone(torch.from_numpy(known.tokens)[None], output_hidden_states=True)
        assert known.best[:-1].tolist() == out.logits[0, :-1].argmax(-1).tolist()
        torch.testing.assert_close(known.final[:-1], out.hidden_states[-1][0, :-1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(known.features[:-1, 0], out.hidden_states[2][0, :-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (1, 3)])
def test_text_goes_on_with_more_writers_or_fewer(tmp_path: Path, before: int, after: int) -> None:
    """Writers share the missing tokens evenly: none idles because its folder is ahead of the others'."""
    vocabulary = Vocabulary(tiny_tokenizer(), [])
    config = DistillConfig(slots=4, max_new_tokens=16, prompt_tokens=224, dtype="float32")

    def write(tokens: int, writers: int) -> list[int]:
        wanted = goals(tokens, tmp_path, writers)
        written = []
        for index, goal in enumerate(wanted):
            folder = tmp_path / str(index)
            had = shards.Shards(folder).response_tokens
            generate(
                config, tiny(), vocabulary, folder, goal, deadline=time.monotonic() + 100,
                log=lambda *_, **__: None, first=index * 1000,
            )  # fmt: skip
            written.append(shards.Shards(folder).response_tokens - had)
        return written

    write(600, before)
    there = shards.Shards(tmp_path).response_tokens
    written = write(there + 600, after)
    share = 600 / after
    assert all(share <= tokens < share + 4 * 16 + 1 for tokens in written)
    assert write(there, after) == [0] * after


def test_a_broken_shard_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "shard-00000.safetensors").write_bytes(b"not a shard")
    with pytest.raises(DecodingError, match="delete it"):
        shards.Shards(tmp_path)


def test_settings_are_refused_early(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tokens"):
        DistillConfig(tokens=3)
    with pytest.raises(UsageError, match="--device"):
        DistillConfig(device="abacus")
    DistillConfig(seed=1).save(tmp_path / "distill.json")
    DistillConfig(seed=1, tokens=5000).check_continues(tmp_path / "distill.json")
    with pytest.raises(UsageError, match="seed 1, not 2"):
        DistillConfig(seed=2).check_continues(tmp_path / "distill.json")


def test_writers_keep_every_slot_within_its_room() -> None:
    config = DistillConfig(slots=4, max_new_tokens=16, prompt_tokens=200, dtype="float32")
    writer = Writer(tiny(), Vocabulary(tiny_tokenizer(), []), config, 0)
    done = [sequence for _ in range(300) for sequence in writer.step()]
    assert done
    for sequence in done:
        assert len(sequence.tokens) - sequence.answer_from <= 16
        assert sequence.answer_from <= 200
