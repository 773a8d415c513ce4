"""``make gpu-check``: is decoding right on this GPU, and how near to what its memory allows?

No downloads: models have the exact shapes of Llama-2-7B and TinyLlama-1.1B and random weights. Exits with 3 where
there is no CUDA device, with 1 when a check fails. ``--device cpu --tiny`` runs all of it but the capture on small
shapes, which is how it is tested; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spectui.decoding.bench.arms import EngineArm, GenerateArm
from spectui.decoding.bench.floor import bandwidth, floor_ms, median_ms
from spectui.decoding.config import RunConfig
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.eagle.head import EagleHead, HeadConfig, default_feature_layers, set_draft_vocabulary
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.models.quantization import missing_packages
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import ancestor_mask
from spectui.decoding.trees.spec import recycling_shape
from spectui.decoding.worker.prompt_runner import out_of_memory
from tests.models import tiny_tokenizer

NO_CUDA = 3
LLAMA_2_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
              "num_key_value_heads": 32, "max_position_embeddings": 4096}  # fmt: skip
TINY_LLAMA = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
              "num_key_value_heads": 4, "max_position_embeddings": 2048}  # fmt: skip
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 192}  # fmt: skip
NODES = (1, 6, 14, 32, 64)
PASSES = 15
PREFIX = 100
TEMPERATURES, PROMPTS = (0.0, 0.7, 1.0), 3
ROOM = 32 << 20
"""Bytes that are left free when a device is filled: less than a cache of half a context takes."""
NEAR_TIE = {torch.float16: 0.05, torch.float32: 1e-3}
"""Top-two margin of logits below which kernels of different sizes may rank either token first."""


def random_llama(
    sizes: dict[str, int], dtype: torch.dtype, device: torch.device, vocab: int, seed: int
) -> Any:
    """Random weights, wide enough for outputs to wander."""
    torch.manual_seed(seed)
    config = LlamaConfig(**sizes, vocab_size=vocab, attn_implementation="sdpa", tie_word_embeddings=False)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to(dtype).to_empty(device=device).eval()
    fresh = LlamaForCausalLM(
        LlamaConfig(**{**sizes, "num_hidden_layers": 1, "vocab_size": 8})
    ).model.rotary_emb
    model.model.rotary_emb = fresh.to(device)  # its angles are no weights, and to_empty lost them
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 1.0 if "embed" in name else 2.0 / parameter.shape[1] ** 0.5)
            else:
                parameter.fill_(1.0)
    use_grouped_attention(model)
    return model


class Checks:
    """Collects verdicts."""

    def __init__(self) -> None:
        self.verdicts: dict[str, dict[str, Any]] = {}

    def add(self, name: str, holds: bool, **facts: Any) -> None:
        self.verdicts[name] = {"holds": holds, **facts}
        print(f"{'ok    ' if holds else 'FAILED'} {name}  {facts or ''}", flush=True)


def decode(decoder: SpeculativeDecoder, ids: list[int]) -> list[int]:
    return [t for r in decoder.generate(ids) for t in r.tokens]


@contextmanager
def capturing(decoder: SpeculativeDecoder, on: bool) -> Iterator[None]:
    """Inside, the decoder's forwards are captured where they can be, or not at all."""
    graphs = decoder.rounds.graphs if isinstance(decoder.rounds, DeviceRounds) else ()
    before = [one.reason for one in graphs]
    for one in graphs:
        one.reason = one.reason if on else "switched off for the comparison"
    try:
        yield
    finally:
        for one, reason in zip(graphs, before, strict=True):
            one.reason = reason


def teacher_forced(model: Any, ids: list[int], output: list[int]) -> list[dict[str, float]]:
    """Positions at which `output` is not the argmax of one plain forward, and by how much it falls short."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *output]], device=model.device)).logits[0].float()
    rows = logits[len(ids) - 1 : -1]
    chosen = rows.gather(1, torch.tensor(output, device=rows.device)[:, None])[:, 0]
    short = (rows.amax(-1) - chosen).tolist()
    return [{"position": i, "margin": gap} for i, gap in enumerate(short) if gap > 0]


def check(models: LoadedModels, label: str, checks: Checks) -> None:
    """Everything but the times."""
    target, vocabulary = models.target, models.tokenizer
    ids = [5 + 7 * i % 300 for i in range(24)]
    config = RunConfig(
        draft="embedded" if models.draft is not None else "recycling", tree="full:3x2", max_new_tokens=48
    )
    decoder = SpeculativeDecoder(config, models=models)
    output = greedy(decoder, ids, checks, label)
    hot = config.changed(temperature=0.8, max_new_tokens=24)
    again = [decode(SpeculativeDecoder(hot, models=models), ids) for _ in range(2)]
    whole = len(again[0]) == 24 or again[0][-1] in vocabulary.end_ids
    checks.add(f"{label}: sampling repeats with its seed", again[0] == again[1] and whole)
    rows = sampled_shares(decoder, hot, models, ids)
    checks.add(f"{label}: sampled first tokens follow the target", rows["z"] < 4.0, **rows)
    endless = LoadedModels(target, models.draft, Vocabulary(vocabulary.tokenizer, []))
    context = decoder.target.context
    long = SpeculativeDecoder(config.changed(max_new_tokens=10**6), models=endless)
    start = [5 + 7 * i % 300 for i in range(context - 40)]
    last = list(long.generate(start))[-1]
    checks.add(
        f"{label}: decodes to the end of the cache",
        last.finish == "context" and long.target.length + 1 >= context,
    )
    recovery(decoder, ids, output, checks, label)


def greedy(decoder: SpeculativeDecoder, ids: list[int], checks: Checks, label: str) -> list[int]:
    """The output, which has to be what the target says to it, captured or not."""
    target = decoder.models.target
    output = decode(decoder, ids)
    gaps = teacher_forced(target, ids, output)
    tie = NEAR_TIE.get(target.dtype, NEAR_TIE[torch.float16])
    checks.add(
        f"{label}: greedy equals teacher-forced argmax", all(g["margin"] < tie for g in gaps), near_ties=gaps
    )
    with capturing(decoder, False):
        eager = decode(decoder, ids)
    reason: str | None = "the growing path"
    if isinstance(decoder.rounds, DeviceRounds):
        reason = next((one.reason for one in decoder.rounds.graphs if one.reason), None)
    checks.add(f"{label}: captured equals eager", output == eager, captured=reason is None, reason=reason)
    return output


def random_head(target: Any, vocab: int) -> EagleHead:
    """An EAGLE-3 head for `target` with random weights, of the shape that published ones have."""
    model, layers = target.config, target.config.num_hidden_layers
    config = HeadConfig(
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_key_value_heads,
        head_dim=model.hidden_size // model.num_attention_heads,
        vocab_size=vocab,
        draft_vocab_size=vocab // 2,
        target_hidden_size=model.hidden_size,
        feature_layers=default_feature_layers(layers) if layers > 5 else (0, layers // 2, layers - 1),
    )
    torch.manual_seed(2)
    head = EagleHead(config, target.get_input_embeddings()).to(target.device, target.dtype).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5)
    set_draft_vocabulary(head, range(0, vocab // 2 * 2, 2))
    return head


def drafting(models: LoadedModels, checks: Checks) -> None:
    """Static and dynamic trees, of the draft model and of a head, with and without lookup beside it."""
    vocab = int(models.target.config.vocab_size)
    headed = LoadedModels(models.target, random_head(models.target, vocab), models.tokenizer)
    ids = [5 + 7 * i % 300 for i in range(24)]
    for draft, pair, tree in (
        ("embedded", models, "dynamic:8x4"), ("eagle", headed, "full:3x2"), ("eagle", headed, "dynamic:8x4"),
        ("eagle+lookup", headed, "dynamic:8x4"),
    ):  # fmt: skip
        config = RunConfig(draft=draft, tree=tree, max_new_tokens=48)
        what = "draft model" if pair is models else draft.replace("eagle", "head")
        greedy(SpeculativeDecoder(config, models=pair), ids, checks, f"{tree} of the {what}")


def sampled_shares(
    decoder: SpeculativeDecoder, hot: RunConfig, models: LoadedModels, ids: list[int], runs: int = 200
) -> dict[str, float]:
    """Draws of the likeliest first token compared with its probability, in standard deviations."""
    with torch.inference_mode():
        logits = models.target(torch.tensor([ids], device=models.target.device)).logits[0, -1].float()
    p, token = (logits / hot.temperature).softmax(-1).max(-1)
    sampler = SpeculativeDecoder(hot.changed(max_new_tokens=1), models=models)
    hits = sum(next(sampler.generate(ids, position=i)).tokens[0] == int(token) for i in range(runs))
    spread = max(float(p * (1 - p) * runs) ** 0.5, 0.5)
    return {"p": float(p), "share": hits / runs, "z": abs(hits - runs * float(p)) / spread}


def recovery(
    decoder: SpeculativeDecoder, ids: list[int], output: list[int], checks: Checks, label: str
) -> None:
    """A decoder that finds the device full fails as a run expects; with room again decoding goes on as before.

    A CPU's memory is the machine's own: there an allocation that cannot be has to do.
    """
    device, refused = decoder.target.device, False
    ballast: Any = None
    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            ballast = torch.empty(torch.cuda.mem_get_info(device)[0] - ROOM, dtype=torch.uint8, device=device)
            context = decoder.target.context
            decode(
                SpeculativeDecoder(decoder.config, models=decoder.models),
                [5 + i % 300 for i in range(context // 2)],
            )
        else:
            torch.empty(2**50, dtype=torch.uint8, device=device)
    except Exception as error:
        if not out_of_memory(error):
            raise
        refused = True
    del ballast
    if device.type == "cuda":
        torch.cuda.empty_cache()
    checks.add(f"{label}: goes on after running out of memory", refused and decode(decoder, ids) == output)


def end_to_end(models: LoadedModels, checks: Checks, tokens: int) -> list[dict[str, float]]:
    """Tokens per second against transformers' assisted generation with the same pair, prompt by prompt in turn.

    Random models hardly ever agree, so this is what a round costs more than what it brings.
    """
    out = []
    for temperature in TEMPERATURES:
        config = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=tokens, temperature=temperature)
        ours = EngineArm(SpeculativeDecoder(config, models=models))
        theirs = GenerateArm(models.target, config, models.tokenizer, assistant=models.draft, lookup=False)
        ratios = []
        for position in range(PROMPTS + 1):
            ids = [5 + (7 * i + position) % 300 for i in range(24)]
            pair = [arm.run(ids, position).tokens_per_second for arm in (ours, theirs)]
            ratios += [pair[0] / pair[1]] if position else []  # the first warms up
        ratio = statistics.median(ratios)
        out.append({"temperature": temperature, "over_assisted": ratio})
        on_gpu = models.target.device.type == "cuda"
        checks.add(
            f"temperature {temperature}: faster than assisted generation",
            ratio > 1 or not on_gpu,
            ratio=round(ratio, 2),
        )
    return out


def times(model: Any, floor_bandwidth: float) -> dict[str, Any]:
    """Milliseconds of a forward of a tree of each size, against the floor."""
    buffered = BufferedModel(model)
    buffered.prefill([5 + i % 300 for i in range(PREFIX)])
    floor = floor_ms(model, floor_bandwidth)
    out: dict[str, Any] = {"floor_ms": floor, "nodes": {}}
    for nodes in NODES:
        shape = recycling_shape(nodes)
        depth, mask = np.concatenate([[0], shape.depth]), ancestor_mask(shape.parent)
        tokens = torch.arange(nodes + 1, device=model.device) + 5

        def one(tokens: torch.Tensor = tokens, depth: Any = depth, mask: Any = mask) -> None:
            buffered.append_tensors(tokens, depth, mask)
            buffered.keep([])

        with torch.inference_mode():
            ms = median_ms(buffered.device, one)
        out["nodes"][nodes] = {"ms": ms, "over_floor": ms / floor}
    out["eager_because"] = buffered.graphs.reason
    return out


def gptq_target(device: torch.device, tiny: bool, checks: Checks) -> Any | None:
    """A target in the GPTQ format, loaded as a run loads it; None without what reads it."""
    if missing := missing_packages():
        print(f"left   GPTQ: {' and '.join(missing)} not installed (pip install 'spectui[gptq]')", flush=True)
        return None
    from tests.gptq_checkpoint import random_gptq_llama

    with tempfile.TemporaryDirectory() as folder:
        random_gptq_llama(
            Path(folder), SMALL if tiny else LLAMA_2_7B, 512 if tiny else 32000, group=32 if tiny else 128
        )
        loaded = load_models(RunConfig(target=folder, draft="recycling", device=str(device)))
    check(loaded, "gptq int4", checks)
    return loaded.target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to test the check itself")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.json"))
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "gpu-check: there is no CUDA device here, so nothing was checked or measured; run it on a machine with one"
        )
        return NO_CUDA
    device = torch.device(arguments.device)
    tiny, checks = arguments.tiny, Checks()
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    vocab = 512 if tiny else 32000
    target = random_llama(SMALL if tiny else LLAMA_2_7B, dtype, device, vocab, 0)
    draft = random_llama(SMALL if tiny else TINY_LLAMA, dtype, device, vocab, 1)
    models = LoadedModels(target, draft, Vocabulary(tiny_tokenizer(), []))
    check(models, "Llama-2-7B shapes", checks)
    drafting(models, checks)
    speed = bandwidth(device, 2**24 if tiny else 2**31)
    against = end_to_end(models, checks, 12 if tiny else 96)
    table = {"verification": times(target, speed), "draft level": times(draft, speed)}
    quantized = gptq_target(device, tiny, checks)
    if quantized is not None:
        table["verification, gptq int4"] = times(quantized, speed)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"\n{name}: {speed / 1e9:.0f} GB/s measured")
    for what, measured in table.items():
        for nodes, one in measured["nodes"].items():
            print(f"{what:26} {nodes:3} nodes  {one['ms']:8.3f} ms  {one['over_floor']:6.2f} x the floor")
    result = {
        "device": name,
        "torch": torch.__version__,
        "tiny": tiny,
        "bandwidth": speed,
        "checks": checks.verdicts,
    }
    arguments.out.write_text(
        json.dumps({**result, "times": table, "end_to_end": against}, indent=1) + "\n", encoding="utf-8"
    )
    return 0 if all(one["holds"] for one in checks.verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
