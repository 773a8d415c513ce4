"""Every causal family of the installed transformers, made tiny and decoded: equal to `generate`, or refused and why.

    python -m tests.bench.architectures [FAMILY ...] [--no-variants] [--static]

Each model drafts for itself, so that paths are accepted and moved in the cache. Families that cannot be made tiny are
judged by their configuration alone. Exits 1 when one gives other tokens or fails inside.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.utils import logging

from spectui.decoding.device.switch import SWITCH
from spectui.decoding.target.support import family_refused
from tests.architectures import Outcome, decoded, one_line, save
from tests.tiny_families import LAYERS, WINDOW, families, tiny_config, tiny_model

SECONDS = 90
"""Time limit for one model."""

_YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "factor": 4.0,
    "rope_theta": 1e4,
    "original_max_position_embeddings": 32,
}
_DYNAMIC: dict[str, Any] = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
_LINEAR: dict[str, Any] = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
_LONG: dict[str, Any] = {
    "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0, 3.0, 2.0, 6.0], "rope_theta": 1e4,
    "original_max_position_embeddings": 32, "factor": 4.0,
}  # fmt: skip
_ROPED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "granite", "olmo2", "cohere", "glm")
_HALVES = ["sliding_attention", "full_attention"] * (LAYERS // 2)
_GLOBAL = {"attention_types": [[["global"], LAYERS]], "attention_layers": ["global"] * LAYERS}
_UPPER = {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": WINDOW}

VARIANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("falcon", "ALiBi", {"alibi": True}),
    ("falcon", "one layer after the other", {"parallel_attn": False, "bias": True}),
    ("falcon", "grouped heads", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon", "many heads", {"multi_query": False, "num_kv_heads": 4}),
    ("mpt", "learned positions", {"attn_config": {"alibi": False}}),
    ("gpt_neo", "no local layers", _GLOBAL),
    ("gpt_bigcode", "many heads", {"multi_query": False}),
    ("gpt_neox", "one after the other", {"use_parallel_residual": False}),
    ("bert", "decoder", {"is_decoder": True}),
    ("roberta", "decoder", {"is_decoder": True}),
    ("xlm-roberta", "decoder", {"is_decoder": True}),
    ("electra", "decoder", {"is_decoder": True}),
    ("mistral", "window", {"sliding_window": WINDOW}),
    ("mistral", "no window", {"sliding_window": None}),
    ("mixtral", "window", {"sliding_window": WINDOW}),
    ("qwen2", "window in some layers", _UPPER),
    ("qwen2_moe", "window in some layers", _UPPER),
    ("phi3", "window", {"sliding_window": WINDOW}),
    ("starcoder2", "window", {"sliding_window": WINDOW}),
    ("gemma2", "soft caps", {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}),
    ("gemma3_text", "windows", {"layer_types": _HALVES}),
    ("cohere2", "windows", {"layer_types": _HALVES}),
    ("exaone4", "windows", {"layer_types": _HALVES}),
    ("olmo3", "windows", {"layer_types": _HALVES}),
    ("gpt_oss", "windows", {"layer_types": _HALVES}),
    ("gemma3n_text", "shared keys", {"num_kv_shared_layers": 2, "layer_types": _HALVES}),
    ("gemma4_text", "shared keys", {"num_kv_shared_layers": 2}),
    ("llama", "one key/value head", {"num_key_value_heads": 1}),
    ("llama", "tied", {"tie_word_embeddings": True}),
    ("llama", "biases", {"attention_bias": True, "mlp_bias": True}),
    ("gpt2", "tied", {"tie_word_embeddings": True}),
    ("opt", "norms behind", {"do_layer_norm_before": False}),
    ("opt", "narrow embedding", {"word_embed_proj_dim": 16}),
    ("stablelm", "parallel", {"use_parallel_residual": True, "qk_layernorm": True}),
    ("persimmon", "partial rotation", {"partial_rotary_factor": 0.5}),
    ("lfm2", "convolutions", {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)}),
    ("llama4_text", "no chunks", {"layer_types": ["full_attention"] * LAYERS}),
    ("granitemoehybrid", "attention alone", {"layer_types": ["full_attention"] * LAYERS}),
    ("phimoe", "longrope", {
        "rope_parameters": {**_LONG, "short_mscale": 1.1, "long_mscale": 1.4},
        "original_max_position_embeddings": 32,
    }),
    ("minicpm3", "longrope", {"rope_parameters": _LONG}),
    ("phi3", "longrope", {"rope_parameters": _LONG, "original_max_position_embeddings": 32}),
    *(
        (family, str(kind["rope_type"]), {"rope_parameters": kind, "max_position_embeddings": context})
        for family in _ROPED
        for kind, context in ((_YARN, 32), (_DYNAMIC, 32), (_LINEAR, 32), (_LONG, 128))
    ),
]  # fmt: skip
"""Family, words on the variant, and the changes to its configuration."""


def main() -> int:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--no-variants", action="store_true")
    parser.add_argument("--static", action="store_true", help="on the path of fixed sizes, which GPUs take")
    arguments = parser.parse_args()
    if arguments.static:
        os.environ[SWITCH] = "1"
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    signal.signal(signal.SIGALRM, _too_slow)
    chosen = arguments.families or families()
    verdicts: Counter[str] = Counter()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        for family, words, changes in _cases(chosen, variants=not arguments.no_variants):
            outcome = _tried(family, changes, Path(folder) / "model")
            reason = outcome.words.replace(str(Path(folder) / "model"), "DIR")
            name = f"{family}, {words}" if words else family
            print(f"{name:40} {outcome.verdict:9} {reason}".rstrip(), flush=True)
            verdicts[outcome.verdict] += 1
            faults += outcome.at_fault
    print(", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
    return 1 if faults else 0


def _cases(chosen: list[str], *, variants: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for family in chosen:
        yield family, "", {}
        if variants:
            yield from (one for one in VARIANTS if one[0] == family)


def _tried(family: str, changes: dict[str, Any], folder: Path) -> Outcome:
    signal.alarm(SECONDS)
    try:
        model = tiny_model(tiny_config(family, **changes))
        save(model, folder)
        outcome = decoded(folder, model, tokens=32)
    except Exception as error:
        outcome = Outcome("not made", one_line(error))
    finally:
        signal.alarm(0)
    if outcome.verdict != "not made":
        return outcome
    try:
        reason = family_refused(AutoConfig.for_model(family))
    except Exception as error:
        return Outcome("not made", one_line(error))
    return outcome if reason is None else Outcome("refused", reason)


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"took more than {SECONDS} seconds")


if __name__ == "__main__":
    sys.exit(main())
