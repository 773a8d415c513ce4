"""Training a head: unrolled states are what drafting computes, the gradient is right, and a kill loses little."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.checkpoints import embedded
from spectui.decoding.distill import vocabulary
from spectui.decoding.distill.initial import new_head, take_over
from spectui.decoding.distill.pipeline import verifier_id
from spectui.decoding.distill.profile import profile
from spectui.decoding.distill.shards import Sequence
from spectui.decoding.distill.train import HARD, Imitate
from spectui.decoding.distill.unroll import Batch, unroll
from spectui.decoding.drafters.registry import EMBEDDED_HEAD
from spectui.decoding.eagle.checkpoint import load_head
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.errors import DecodingError
from spectui.decoding.target.cache import TreeCache
from tests.before.files import check_keys
from tests.models import tiny_llama, tiny_tokenizer
from tests.waiting import until

VOCAB = 384
ENDS = list(range(2, VOCAB, 24))
"""Of a random target, which would never come to an end with one: it answers with some twenty tokens."""
MADE_BY = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The embedded target on the hub, where vLLM finds the verifier of a head that is served alone."""


MADE: dict[str, dict[str, Any]] = {
    "EAGLE-3": {},
    "EAGLE-3, 2 layers": {"layers": 2},
    "P-EAGLE": {"mask": 5},
    "P-EAGLE, 3 layers": {"mask": 5, "layers": 3},
}


def a_head(**made: Any) -> tuple[Any, EagleHead]:
    model = tiny_llama(layers=4, vocab_size=VOCAB).eval()
    torch.manual_seed(1)
    head = new_head(model, list(range(0, VOCAB, 3)), **made)
    if head.mask_hidden is not None:
        torch.nn.init.normal_(head.mask_hidden)
    return model, head


@torch.inference_mode()
def text(model: Any, length: int, seed: int) -> Sequence:
    tokens = np.random.default_rng(seed).integers(3, VOCAB, size=length)
    out = model(torch.from_numpy(tokens)[None], output_hidden_states=True)
    layers = (2, 2, 1)
    return Sequence(
        seed, 0, 6, tokens, out.logits[0].argmax(-1).numpy(),
        torch.stack([out.hidden_states[i][0] for i in layers], 1), out.hidden_states[-1][0],
    )  # fmt: skip


def test_a_head_names_its_verifier_as_other_programs_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last part of a folder is all that is known of one that is nobody's; never the user's path."""
    monkeypatch.chdir(tmp_path)
    config = json.loads((EMBEDDED_HEAD / "config.json").read_text("utf-8"))
    assert config["speculators_config"]["verifier"]["name_or_path"] == MADE_BY
    for folder in ("mine/model", "models--some--Model-2/snapshots/0af"):
        (tmp_path / folder).mkdir(parents=True)
    names = {
        "embedded": MADE_BY,
        str(embedded.folder()): MADE_BY,
        "some/model@main": "some/model",
        "mine/model": "model",
        str(tmp_path / "models--some--Model-2/snapshots/0af"): "some/Model-2",
    }
    assert {target: verifier_id(target) for target in names} == names


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@torch.inference_mode()
def test_unrolled_states_are_those_of_drafting(made: dict[str, Any]) -> None:
    """Row i of pass k is feeding pairs 0..i with true features and then k tokens on own states or k masked pairs."""
    model, head = a_head(**made)
    sequences = [text(model, 20, 1), text(model, 13, 2)]
    batch = Batch.of(sequences, torch.device("cpu"))
    for part in unroll(head, batch, 4, 1.0, None):
        for line, sequence in enumerate(sequences):
            for column in torch.nonzero(part.counts[line]).flatten().tolist():
                row = int(part.rows[line, column])
                expected = drafted(head, sequence, row, part.depth)
                torch.testing.assert_close(part.hidden[line, column], expected, rtol=1e-4, atol=1e-4)


def drafted(head: EagleHead, sequence: Sequence, row: int, depth: int) -> torch.Tensor:
    cache = TreeCache()
    tokens = torch.from_numpy(sequence.tokens)
    pairs = row + 1
    causal = torch.ones(pairs, pairs).tril().bool()
    fused = head.fuse(sequence.features[:pairs].flatten(1))
    h = head(tokens[1 : pairs + 1], fused, torch.arange(pairs), cache, causal)[-1:]
    for k in range(1, depth + 1):
        token, hidden = tokens[row + 1 + k], head.carry(h)
        if head.mask_hidden is not None:
            token, hidden = torch.tensor(head.config.mask_token), head.fuse(head.mask_hidden[0])
        h = head(token[None], hidden, torch.tensor([row + k]), cache, None)
    last: torch.Tensor = h[0]
    return last


def test_rows_predict_only_the_response() -> None:
    model, _ = a_head()
    batch = Batch.of([text(model, 12, 1)], torch.device("cpu"))
    for depth in range(3):
        rows = torch.nonzero(batch.predicted(depth)[0]).flatten()
        predicted = rows + 2 + depth
        assert predicted.tolist() == list(range(6 + depth, 12))


def test_the_loss_has_the_gradient_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 11, generator=generator, requires_grad=True)
    aim, wanted = torch.randn(5, 11, generator=generator), torch.tensor([0, 3, 3, 10, 7])
    ours = Imitate.apply(logits, aim, wanted)  # type: ignore[no-untyped-call]
    ours.backward()
    ours_gradient = logits.grad
    again = logits.detach().clone().requires_grad_()
    mixture = (1 - HARD) * aim.softmax(-1) + HARD * torch.nn.functional.one_hot(wanted, 11)
    plain = -(mixture * again.log_softmax(-1)).sum()
    plain.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(ours_gradient, again.grad)


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@torch.inference_mode()
def test_a_profile_counts_what_a_head_gets_right(made: dict[str, Any]) -> None:
    """Against a recount row by row, for the ranks and for the chain."""
    model, head = a_head(**made)
    sequences = [text(model, 30, seed) for seed in range(3)]
    # Following the target makes chains possible at all.
    for sequence in sequences:
        sequence.tokens[7:] = sequence.best[6:-1]
    acceptance = profile(head, sequences, 3)
    hits, asked, chain = np.zeros((3, 8)), np.zeros(3), np.zeros((3, 2))
    for sequence in sequences:
        for row in range(4, 28):
            alive = reached = True
            for depth in range(3):
                at = row + 1 + depth
                if at + 1 >= len(sequence.tokens):
                    break
                h = drafted(head, sequence, row, depth)
                ranked = head.draft_ids[head.logits(h).topk(8).indices].tolist()
                right = [token == sequence.best[at] for token in ranked]
                if reached:
                    hits[depth] += right
                    asked[depth] += 1
                chain[depth] += [right[0] and alive, alive]
                followed = sequence.tokens[at + 1] == sequence.best[at]
                alive = alive and right[0] and followed
                if head.mask_hidden is not None:
                    reached = reached and any(right) and followed
    np.testing.assert_allclose(acceptance.rank_share, hits / np.maximum(1, asked)[:, None])
    np.testing.assert_allclose(acceptance.chain, chain[:, 0] / np.maximum(1, chain[:, 1]))
    assert acceptance.positions == asked[0]


def test_the_draft_vocabulary_is_the_most_frequent_and_the_ends() -> None:
    seen = np.zeros(100, dtype=np.int64)
    seen[10:40] = np.arange(30, 0, -1)
    chosen = vocabulary.choose(seen, 12, [99])
    assert chosen == [*range(10, 21), 99]
    assert vocabulary.coverage(seen, chosen) == pytest.approx(seen[10:21].sum() / seen.sum())


def test_a_single_loop_is_no_training_text() -> None:
    seen = np.zeros(100, dtype=np.int64)
    seen[7] = 5000
    with pytest.raises(DecodingError, match="repeats"):
        vocabulary.choose(seen, 12, [])
    with pytest.raises(DecodingError, match="repeats"):
        vocabulary.choose(np.zeros(100, dtype=np.int64), 12, [])


def command(target: Path, work: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "spectui.tui", "distill", "--minutes", "3"),
        *("--target", str(target), "--work", str(work)),
        *("--tokens", "9000", "--epochs", "10", "--vocabulary", "160", "--slots", "64", "--max-new-tokens", "32"),
        *("--per-task", "1", "--json"),
    ]  # fmt: skip


def test_a_head_is_distilled_through_a_kill(tmp_path: Path) -> None:
    """The command end to end: killed in training, started again, it goes on and the head beats chance widely."""
    target, work = tmp_path / "target", tmp_path / "work"
    made = tiny_llama(layers=4, vocab_size=VOCAB)
    made.config.eos_token_id = made.generation_config.eos_token_id = ENDS
    made.save_pretrained(target)
    tiny_tokenizer().save_pretrained(target)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        command(target, work), env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until(lambda: (work / "training.pt").is_file(), seconds=150)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        _, said = first.communicate()
    shards = {p: p.stat().st_mtime_ns for p in (work / "text").rglob("shard-*")}
    assert shards, said.decode()
    second = subprocess.run(
        command(target, work), env=environment, capture_output=True, text=True, timeout=280
    )
    assert second.returncode == 0, second.stderr
    assert "resumed at step" in second.stderr
    assert second.stderr.count("loading target\n") == 1
    assert {p: p.stat().st_mtime_ns for p in (work / "text").rglob("shard-*")} == shards
    figures = json.loads(second.stdout)
    check_keys("spectui distill --json", figures)
    assert figures["identical"] == figures["questions"] == 4
    steps = [json.loads(line).get("step", 0) for line in (work / "log.jsonl").read_text().splitlines()]
    assert max(steps) > 50
    model = tiny_llama(layers=4, vocab_size=VOCAB)
    head = load_head(work / "head", model)
    assert head.config.draft_vocab_size == 160
    assert (work / "head" / "README.md").read_text().startswith("# EAGLE-3 head for")
    validated = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    top1 = [entry["top1"][0] for entry in validated if entry["stage"] == "validate"][-1]
    assert top1 > 3 / VOCAB  # the text of a random target can hardly be foreseen
    _goes_on_from(target, work, top1)


def _goes_on_from(target: Path, work: Path, top1: float) -> None:
    """Another training with `--start` begins as good as the first one ended."""
    (work / "training.pt").unlink()
    third = subprocess.run(
        [*command(target, work), "--start", str(work / "head"), "--epochs", "0.02", "--out", str(work / "next")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert third.returncode == 0, third.stderr
    known = json.loads((work / "next" / "training.json").read_text())
    assert known["history"][0]["tokens"] == 0
    assert known["history"][0]["top1"][0] == pytest.approx(top1, abs=0.005)
    assert known["before"][0]["text"]["size"] == 160
    assert "\n2. " in (work / "next" / "README.md").read_text()


def test_a_larger_vocabulary_keeps_what_was_learnt() -> None:
    """Every row of an earlier head is where its token is; the new ones are where training has moved those like them.

    Moved by the mean alone they outbid what was learnt: the head of the package fell from .57 to .15 at depth 1.
    """
    model, earlier = a_head()
    output = model.get_output_embeddings().weight.detach()
    turn = torch.eye(output.shape[1]) + 0.3 * torch.randn(output.shape[1], output.shape[1])
    trained = (output + 0.1 * torch.randn(output.shape[1])) @ turn - 0.1
    with torch.no_grad():
        for parameter in earlier.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        earlier.lm_head.weight.copy_(trained[earlier.draft_ids])
    more = sorted({*earlier.draft_ids.tolist(), 1, 2, 4})
    head = new_head(model, more)
    take_over(head, earlier, model)
    hidden = torch.randn(3, head.config.hidden_size)
    at = [more.index(token) for token in earlier.draft_ids.tolist()]
    torch.testing.assert_close(head.logits(hidden)[:, at], earlier.logits(hidden))
    torch.testing.assert_close(head.fc.weight, earlier.fc.weight)
    fresh = [more.index(token) for token in (1, 2, 4)]
    moved = trained[earlier.draft_ids] - output[earlier.draft_ids]
    by_mean = (output[[1, 2, 4]] + moved.mean(0) - trained[[1, 2, 4]]).norm()
    assert (head.lm_head.weight[fresh] - trained[[1, 2, 4]]).norm() < 0.1 * by_mean


def test_few_rows_of_an_earlier_head_move_the_new_ones_by_their_mean() -> None:
    """Fewer rows than dimensions say little of a linear map: what is left is their mean."""
    model, _ = a_head()
    expected = model.get_output_embeddings().weight[[5, 7]].detach() - 0.1
    earlier, head = new_head(model, [5]), new_head(model, [5, 7])
    with torch.no_grad():
        earlier.lm_head.weight.copy_(expected[:1])
    take_over(head, earlier, model)
    torch.testing.assert_close(head.lm_head.weight.detach(), expected)
