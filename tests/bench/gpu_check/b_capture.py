"""Section B: everything is captured, and what is replayed decodes as everything else does."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import DFLASH, DSPARK, EAGLE, EAGLE1, KINDS, MTP, PARD, PEAGLE
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.tokens.vocabulary import Vocabulary
from tests.bench.gpu_check.report import Report
from tests.bench.gpu_check.shapes import loaded, prompt
from tests.bench.gpu_check.texts import decode, environment, same, sampling_name
from tests.bench.gpu_check.watch import Watch
from tests.decoding.drafters.kinds import weights_for
from tests.models import tiny_llama, tiny_tokenizer

TITLE = "capture, tiny shapes"
SECONDS = 75.0
A_CASE = 2.0
PAIRS = (
    ("embedded", "full:3x2"), ("embedded", "dynamic:8x4"), ("eagle", "full:3x2"), ("eagle", "dynamic:8x4"),
    ("recycling", "recycling:8"), ("embedded+lookup", "full:2x2+chain:3"), ("eagle+lookup", "dynamic:8x4+chain:3"),
    ("dflash", "dynamic:8x4"), ("dspark", "full:2x2"), ("peagle", "dynamic:8x4"), ("pard", "full:2x2"),
    ("mtp", "dynamic:8x4"), ("eagle1", "dynamic:8x4"),
)  # fmt: skip
WITH_WEIGHTS = (EAGLE, DFLASH, DSPARK, PEAGLE, PARD, MTP, EAGLE1)
SAMPLINGS: tuple[dict[str, float], ...] = ({}, {"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.7})
HALVES = (torch.float16, torch.bfloat16)
TOKENS = 20
CONTEXT, CROSSED = 192, 1024


@dataclass
class Family:
    """A target, and weights of one type for every kind of drafter, on one device."""

    models: dict[str, LoadedModels] = field(default_factory=dict)

    @classmethod
    def of(cls, dtype: torch.dtype, device: torch.device, context: int = 4096) -> Family:
        """Equal weights, whatever the device."""
        target, draft = (tiny_llama(layers=3, context=context) for _ in range(2))
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in draft.parameters():  # a draft that agrees now and then
                parameter.add_(0.02 * torch.randn_like(parameter))
        heads = {kind.name: weights_for(kind, target) for kind in WITH_WEIGHTS}
        for model in (target, draft, *heads.values()):
            model.to(device=device, dtype=dtype)
        return cls.with_parts(target, draft, heads)

    @classmethod
    def with_parts(cls, target: Any, draft: Any, heads: Mapping[str, Any]) -> Family:
        """These models."""
        words = Vocabulary(tiny_tokenizer(), [])
        pair = loaded(target, draft)
        headed = {name: loaded(target, head, KINDS[name]) for name, head in heads.items()}
        return cls({"embedded": pair, "recycling": LoadedModels(target, None, words), **headed})

    def decoder(self, config: RunConfig) -> SpeculativeDecoder:
        """A decoder with the part that `config` drafts with."""
        return SpeculativeDecoder(config, models=self.models[config.base_draft])


def run(report: Report, watch: Watch) -> None:
    """All pairs in all samplings; texts that outgrow buffers and context; waits; then other number types."""
    setting = report.setting
    family = Family.of(torch.float32, setting.device)
    on_cpu = Family.of(torch.float32, torch.device("cpu")) if setting.on_gpu else None
    # A CPU captures nothing: repeats bring little there.
    cases(report, watch, family, torch.float32, PAIRS, SAMPLINGS if setting.on_gpu else SAMPLINGS[:2], on_cpu)
    for draft, tree in (PAIRS[0], PAIRS[3]):
        with report.attempt(f"{draft} {tree} across {CROSSED} slots"):
            long = RunConfig(draft=draft, tree=tree, max_new_tokens=60)
            against_growing(report, watch, family, long, prompt(CROSSED - 40), f"across {CROSSED} slots")
    with report.attempt(f"to the end of {CONTEXT}"):
        short = Family.of(torch.float32, setting.device, context=CONTEXT)
        to_the_end = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=10**6)
        against_growing(report, watch, short, to_the_end, prompt(CONTEXT - 30), f"to the end of {CONTEXT}")
    with report.attempt("waits"):
        waits(report, family)
    for dtype in HALVES:
        family = Family.of(dtype, setting.device)
        cases(
            report,
            watch,
            family,
            dtype,
            PAIRS if setting.on_gpu else PAIRS[:1],
            SAMPLINGS[: 1 + setting.on_gpu],
        )


def cases(
    report: Report, watch: Watch, family: Family, dtype: torch.dtype, pairs: Sequence[tuple[str, str]],
    samplings: Sequence[dict[str, float]], on_cpu: Family | None = None,
) -> None:  # fmt: skip
    """Every pair in every sampling."""
    on_gpu = report.setting.on_gpu
    for draft, tree in pairs:
        for sampling in samplings:
            tokens = TOKENS if on_gpu else TOKENS // 2
            config = RunConfig(draft=draft, tree=tree, max_new_tokens=tokens, **sampling)  # type: ignore[arg-type]
            title = title_of(config, dtype)
            if report.fits(title, A_CASE):
                with report.attempt(title):
                    case(
                        report,
                        watch,
                        family,
                        config,
                        dtype,
                        on_cpu,
                        ("eager", "growing") if on_gpu else ("growing",),
                    )


def case(
    report: Report, watch: Watch, family: Family, config: RunConfig, dtype: torch.dtype, on_cpu: Family | None,
    others: Sequence[str],
) -> None:  # fmt: skip
    """One drafter, tree, sampling and type: captured, and the same as without capture, on `others` and on a CPU."""
    ids = (prompt(12), prompt(17, 3))
    watch.forgive()
    with environment(SPECTUI_STATIC="1"):
        decoder = family.decoder(config)
        outputs = [decode(decoder, ids[n], n) for n in (0, 1, 0)]
        with environment(SPECTUI_CAPTURE="0"):
            references = {"eager": family.decoder(config)} if "eager" in others else {}
    drawn = not config.greedy and tree_is_drawn(config)
    with environment(SPECTUI_STATIC="0"):
        # Children are drawn by the device's own generator, in another order where buffers grow.
        if not drawn and "growing" in others:
            references["growing"] = family.decoder(config)
        if not drawn and on_cpu is not None:
            references["cpu"] = on_cpu.decoder(config)
    facts: dict[str, Any] = {"repeats": outputs[2] == outputs[0]}
    model = decoder.models.target
    for name, reference in references.items():
        if not config.greedy and dtype != torch.float32 and name != "eager":
            continue  # a draw that falls on a boundary goes either way
        near_ties = config.greedy and (dtype != torch.float32 or name == "cpu")
        texts = {n: decode(reference, ids[n], n) for n in (0, 1)}
        facts[name] = all(same(model, ids[n], outputs[n], texts[n], near_ties=near_ties) for n in texts)
    problems, captured = captures(report, watch, decoder)
    report.check(title_of(config, dtype), all(facts.values()) and not problems, **facts, **captured)


def title_of(config: RunConfig, dtype: torch.dtype) -> str:
    """Its drafter, tree, sampling and type."""
    return f"{config.draft} {config.tree} {sampling_name(config)} {str(dtype).removeprefix('torch.')}"


def tree_is_drawn(config: RunConfig) -> bool:
    """True for children that are drawn at temperature rather than the likeliest ones."""
    return not config.tree.startswith("dynamic") and config.base_draft != "recycling"


def captures(report: Report, watch: Watch, decoder: SpeculativeDecoder) -> tuple[list[str], dict[str, Any]]:
    """Problems with what a decoder captured, and its graphs, nodes, and seconds of capturing, by part."""
    if not report.setting.on_gpu:
        return [], {"captured": f"not tried on the {report.setting.device.type}"}
    problems = watch.problems(decoder)
    facts: dict[str, Any] = {"problems": problems, "causes": watch.causes[-2:] if problems else []}
    for part in watch.parts(decoder):
        if part.seen:
            facts[part.role] = {
                "graphs": sum(one.captured for one in part.seen.values()),
                "nodes": sorted({one.nodes or 0 for one in part.seen.values()}),
                "seconds": round(sum(one.seconds for one in part.seen.values()), 3),
                "runs": sum(one.calls for one in part.seen.values()),
            }
    return problems, facts


def against_growing(
    report: Report, watch: Watch, family: Family, config: RunConfig, ids: list[int], title: str
) -> None:
    """A text whose cache outgrows its buffers or the context, captured and in growing buffers."""
    with environment(SPECTUI_STATIC="1"):
        decoder = family.decoder(config)
    with environment(SPECTUI_STATIC="0"):
        growing = family.decoder(config)
    next(decoder.generate(ids[:9]))  # so that the buffers of a short prompt have to be left
    output = decode(decoder, ids)
    near_ties = report.setting.on_gpu
    equal = same(decoder.models.target, ids, output, decode(growing, ids), near_ties=near_ties)
    problems, facts = captures(report, watch, decoder)
    holds = equal and not problems and len(output) >= min(config.max_new_tokens, 25)
    report.check(f"{config.draft} {config.tree} {title}", holds, growing=equal, tokens=len(output), **facts)


def waits(report: Report, family: Family, pairs: Sequence[tuple[str, str]] = PAIRS) -> None:
    """Times that a round waits for the device, by torch's own warnings."""
    setting = report.setting
    if not setting.on_gpu:
        report.skip("waits per round", "a CPU is never waited for")
        return
    for draft, tree in pairs:
        with environment(SPECTUI_STATIC="1"):
            decoder = family.decoder(RunConfig(draft=draft, tree=tree, max_new_tokens=TOKENS))
        decode(decoder, prompt(12))
        rounds = decoder.generate(prompt(12))
        next(rounds)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                count = sum(1 for _ in rounds)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        at = Counter(f"{w.filename}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message))
        each = sum(at.values()) / max(count, 1)
        report.check(
            f"{draft} {tree}: waits a round", 0.0 < each <= 1.0, waits=each, at=dict(at.most_common(4))
        )
