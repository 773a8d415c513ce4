"""How fast the same target decodes one token at a time: what every speed-up here is compared with."""

from __future__ import annotations

from statistics import median

from decoding.engine import SpeculativeDecoder


def plain_decoder(decoder: SpeculativeDecoder) -> SpeculativeDecoder:
    """The same models and configuration without speculation, with a cache of its own."""
    return SpeculativeDecoder(decoder.config.changed(speculate=False), models=decoder.models)


def plain_ms_per_token(decoder: SpeculativeDecoder, prompt: str, tokens: int) -> float:
    """Median milliseconds per token over `tokens` rounds of plain decoding, the first one left out.

    Prefill does not count. Raises `DecodingError` when the prompt does not fit.
    """
    times: list[float] = []
    for round_ in plain_decoder(decoder).generate(prompt):
        times.append(round_.draft_ms + round_.verify_ms + round_.other_ms)
        if len(times) > tokens:
            break
    return median(times[1:] or times)
