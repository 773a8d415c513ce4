"""A GGUF file of the Llama family as a Hugging Face model folder, in float32. Torch-free.

transformers can read GGUF by itself, but needs half a minute every time, a further package, and
drops the splitting of digits from SmolLM's tokenizer. This is done once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectui.decoding.errors import DecodingError

if TYPE_CHECKING:
    from gguf import GGUFReader

Float32 = NDArray[np.float32]

WEIGHTS = "model.safetensors"

# GGUF name -> Hugging Face name; of a block, "blk.7." and "model.layers.7." go in front.
TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

CONTROL_TOKEN = 3
"""`tokenizer.ggml.token_type` of special tokens."""


def convert(source: Path, folder: Path, progress: Callable[[float, float], None]) -> dict[str, str]:
    """Write weights, configurations and tokenizer of `source` into the existing `folder`.

    `progress` is told bytes of weights written and to be written. Returns the sha256 of each file by
    name. Raises `DecodingError` for a GGUF file that is no Llama or lacks what a model folder needs.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
    except (ValueError, IndexError) as error:
        raise DecodingError(f"{source.name} is not a GGUF file that spectui reads: {error}") from error
    meta = _Metadata(reader, source.name)
    if meta.text("general.architecture") != "llama":
        raise DecodingError(f"{source.name} holds a '{meta.text('general.architecture')}' model, not a Llama")
    config = _config(meta, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
    sums = {WEIGHTS: _write_weights(reader, config, folder / WEIGHTS, progress)}
    for name, text in {
        "config.json": _json(config),
        "generation_config.json": _json({key: config[key] for key in _GENERATION_KEYS}),
        "tokenizer.json": _tokenizer(meta),
        "tokenizer_config.json": _json(_tokenizer_config(meta, config)),
        "chat_template.jinja": meta.text("tokenizer.chat_template"),
    }.items():
        data = text.encode()
        (folder / name).write_bytes(data)
        sums[name] = hashlib.sha256(data).hexdigest()
    return sums


class _Metadata:
    """Typed look-ups in the key-value part of a GGUF file."""

    def __init__(self, reader: GGUFReader, name: str) -> None:
        self._reader = reader
        self._name = name

    def get(self, key: str) -> Any:
        field = self._reader.get_field(key)
        if field is None:
            raise DecodingError(f"{self._name} has no '{key}'; it cannot be converted")
        return field.contents()

    def text(self, key: str) -> str:
        return str(self.get(key))

    def whole(self, key: str) -> int:
        return int(self.get(key))

    def real(self, key: str) -> float:
        """A float32 as the decimal it was written as: 1e-05 rather than 9.999999747378752e-06."""
        return float(str(np.float32(self.get(key))))


_GENERATION_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")


def _config(meta: _Metadata, *, tied: bool) -> dict[str, Any]:
    heads = meta.whole("llama.attention.head_count")
    hidden = meta.whole("llama.embedding_length")
    if hidden % heads or meta.whole("llama.rope.dimension_count") != hidden // heads:
        raise DecodingError("the GGUF file rotates a part of each head only; spectui does not convert such")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "head_dim": hidden // heads,
        "intermediate_size": meta.whole("llama.feed_forward_length"),
        "num_hidden_layers": meta.whole("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": meta.whole("llama.attention.head_count_kv"),
        "max_position_embeddings": meta.whole("llama.context_length"),
        "rms_norm_eps": meta.real("llama.attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": meta.real("llama.rope.freq_base")},
        "vocab_size": meta.whole("llama.vocab_size"),
        "tie_word_embeddings": tied,
        "bos_token_id": meta.whole("tokenizer.ggml.bos_token_id"),
        "eos_token_id": meta.whole("tokenizer.ggml.eos_token_id"),
        "pad_token_id": meta.whole("tokenizer.ggml.padding_token_id"),
        "dtype": "float32",
        "use_cache": True,
    }


def _write_weights(
    reader: GGUFReader, config: dict[str, Any], path: Path, progress: Callable[[float, float], None]
) -> str:
    """Dequantise tensor by tensor into one safetensors file of halves; returns its sha256.

    Rounding to half precision moves a weight by a thousandth of what the quantisation did, and products
    can then read half of the memory (`decoding.target.packed`).

    Written by hand rather than by `safetensors.numpy`, which wants all tensors in memory at once and
    can neither report progress nor hash in passing.
    """
    from gguf.quants import dequantize

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        end = total + 2 * int(np.prod(shape))
        header[_name(tensor.name)] = {"dtype": "F16", "shape": shape, "data_offsets": [total, end]}
        total = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)  # the format wants the data aligned
    digest = hashlib.sha256()
    done = 0
    with path.open("wb") as out:
        for chunk in (len(head).to_bytes(8, "little"), head):
            out.write(chunk)
            digest.update(chunk)
        for tensor in reader.tensors:
            values: Float32 = dequantize(tensor.data, tensor.tensor_type)
            data = np.ascontiguousarray(_unpermuted(tensor.name, values, config), dtype="<f2").data
            out.write(data)
            digest.update(data)
            done += data.nbytes
            progress(done, total)
    return digest.hexdigest()


def _name(name: str) -> str:
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    kind, _, suffix = rest.partition(".")
    if kind not in BLOCK_NAMES or suffix != "weight":
        raise DecodingError(f"the GGUF file has a tensor '{name}' that spectui does not know")
    return f"model.layers.{block}.{BLOCK_NAMES[kind]}.weight"


def _unpermuted(name: str, values: Float32, config: dict[str, Any]) -> Float32:
    """Rows of query and key weights in Hugging Face's order.

    llama.cpp rotates neighbouring rows (0,1), (2,3), ... of a head; transformers rotates row i with
    row i + half the head.
    """
    kind = name.removesuffix(".weight").rpartition(".")[2]
    if kind not in ("attn_q", "attn_k"):
        return values
    heads = config["num_attention_heads" if kind == "attn_q" else "num_key_value_heads"]
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(meta: _Metadata) -> str:
    """A byte-level BPE as `tokenizer.json`. SmolLM's splits every digit off before anything else."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind = (meta.text("tokenizer.ggml.model"), meta.text("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise DecodingError(
            f"the GGUF file has a '{kind[0]}/{kind[1]}' tokenizer; spectui converts gpt2/smollm"
        )
    tokens: list[str] = meta.get("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in meta.get("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = meta.get("tokenizer.ggml.token_type")
    special = [t for t, kind_ in zip(tokens, types, strict=True) if kind_ == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    return tokenizer.to_str()


def _tokenizer_config(meta: _Metadata, config: dict[str, Any]) -> dict[str, Any]:
    tokens: list[str] = meta.get("tokenizer.ggml.tokens")
    return {
        # Takes tokenizer.json as it is; a class of a named model would put in its own pre-tokenizer.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[config["bos_token_id"]],
        "eos_token": tokens[config["eos_token_id"]],
        "pad_token": tokens[config["pad_token_id"]],
        "unk_token": tokens[meta.whole("tokenizer.ggml.unknown_token_id")],
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
    }


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
