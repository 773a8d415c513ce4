"""The tensors of a draft head on disk, and their comparison with what its ``config.json`` means."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from spectui.decoding.checkpoints.weight_files import HEAD_FILES, PICKLED_WORDS, missing_shards, shards
from spectui.decoding.errors import DecodingError
from spectui.decoding.heads.config import head_error

_IGNORED = {"verifier_lm_head.weight", "verifier_norm.weight", "rotary_emb.inv_freq"}
"""Tensors that training leaves in a file and that decoding does not use."""
_PARTS = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn"}
_PARTS |= {"q_norm": "self_attn", "k_norm": "self_attn"}
_PARTS |= {"gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp"}
"""Modules of transformers' decoder layers that the parts of `DraftLayer` lie in."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file to read from. Raises `DecodingError` in one line for a damaged one."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:150]
        raise DecodingError(f"{path} is damaged or cut ({reason}); fetch the model again") from error


def read_weights(folder: Path, *, allow_pickle: bool) -> dict[str, torch.Tensor]:
    """The tensors in `folder` under the names of their files. Raises `DecodingError` in one line."""
    if missing := missing_shards(folder):
        raise head_error(folder, f"is not complete: {missing[0]} is missing; fetch it again")
    files = shards(folder) or [folder / name for name in HEAD_FILES if (folder / name).is_file()][:1]
    if not files:
        raise head_error(folder, f"has no {' or '.join(HEAD_FILES)}; fetch it again")
    tensors: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            if path.suffix == ".safetensors":
                tensors |= load_file(path)
                continue
            if not allow_pickle:
                raise head_error(folder, f"has {PICKLED_WORDS}")
            stored: Any = torch.load(path, map_location="cpu", weights_only=True)
        except (
            SafetensorError,
            OSError,
            RuntimeError,
            ValueError,
            EOFError,
            pickle.UnpicklingError,
        ) as error:
            reason = " ".join(str(error).split())[:150]
            raise head_error(
                folder, f"has a damaged or incomplete {path.name} ({reason}); fetch it again"
            ) from error
        if not isinstance(stored, dict) or not all(isinstance(t, torch.Tensor) for t in stored.values()):
            raise head_error(folder, f"has a {path.name} that holds no tensors by name; it is no draft head")
        tensors |= stored
    return {
        public_name(name.removeprefix("model.")): tensor
        for name, tensor in tensors.items()
        if name.removeprefix("model.") not in _IGNORED and not name.endswith("rotary_emb.inv_freq")
    }


def public_name(name: str) -> str:
    """A name in the layout of `speculators`, which the EAGLE authors call differently."""
    return re.sub(r"^midlayer\.", "layers.0.", name)


def stored_name(name: str) -> str:
    """The public name of a tensor of a head's module."""
    match = re.fullmatch(r"(layers\.\d+\.)(\w+)(\.\w+)", name)
    part = _PARTS.get(match[2]) if match else None
    return f"{match[1]}{part}.{match[2]}{match[3]}" if match and part else name


def fill(
    folder: Path,
    head: nn.Module,
    stored: Mapping[str, torch.Tensor],
    names: Mapping[str, str],
    extra: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
) -> None:
    """Give `head`, which has no memory yet, the `stored` tensors by public name, in `dtype`, and `extra` as they are.

    `names` has the public names of tensors that are called otherwise than by `stored_name`. Raises `DecodingError`
    unless there is each tensor that the module has, of its shape, and no other.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items() if name not in extra}
    public = {name: names.get(name) or stored_name(name) for name in expected}
    if missing := [public[name] for name in expected if public[name] not in stored]:
        raise head_error(
            folder, f"lacks the tensor '{missing[0]}' ({len(missing)} missing in all); fetch it again"
        )
    if unknown := sorted(set(stored) - set(public.values())):
        raise head_error(
            folder,
            f"holds a tensor '{unknown[0]}' that its config.json does not announce, or that spectui does not know; "
            "choose another head",
        )
    for name, shape in expected.items():
        if (stored_shape := tuple(stored[public[name]].shape)) != shape:
            raise head_error(
                folder,
                f"has '{public[name]}' of shape {list(stored_shape)} where its config.json means {list(shape)}; "
                "the files do not belong together",
            )
    state = {name: stored[public[name]].to(dtype) for name in expected}
    check_numbers(folder, {public[name]: tensor for name, tensor in state.items()})
    head.load_state_dict(state | dict(extra), assign=True)


def check_numbers(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `DecodingError` for weights that are no numbers, or too large for the type that they are cast to: their
    drafts would mean nothing, and no output would show it."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.sum(dtype=torch.float32))) and not bool(tensor.isfinite().all()):
            raise head_error(
                folder,
                f"has values in '{name}' that are no numbers in {str(tensor.dtype).removeprefix('torch.')}; fetch it "
                "again, or give another --dtype",
            )


def same_weights(module: Any, tensor: torch.Tensor) -> bool:
    """True where a module of the target has these weights already, which then need not be kept twice.

    Of a target without weights (on "meta") only the shape is compared; what is no number is no copy of a model's.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.shape != tensor.shape:
        return False
    if weight.is_meta:
        return bool(tensor.isfinite().all())
    return torch.equal(weight, tensor.to(weight.device, weight.dtype))


def draft_ids(
    folder: Path, size: int, vocab: int, offsets: torch.Tensor | None, present: torch.Tensor | None
) -> torch.Tensor:
    """Target token of each of `size` draft tokens, of `vocab`, from ``d2t`` or else ``t2d``."""
    if offsets is not None:
        if tuple(offsets.shape) != (size,):
            raise head_error(folder, f"has d2t of shape {list(offsets.shape)} for {size} draft tokens")
        if offsets.is_floating_point() or offsets.dtype == torch.bool:
            kind = str(offsets.dtype).removeprefix("torch.")
            raise head_error(
                folder, f"has d2t of {kind}, which names no tokens; it is damaged, fetch it again"
            )
        ids = torch.arange(size) + offsets.long()
    elif present is not None:
        ids = present.bool().nonzero().flatten()
        if len(ids) != size:
            raise head_error(folder, f"marks {len(ids)} tokens in t2d, but predicts {size}")
    elif size == vocab:
        ids = torch.arange(size)
    else:
        raise head_error(folder, f"predicts {size} of {vocab} tokens but has no d2t that names them")
    if int(ids.min()) < 0 or int(ids.max()) >= vocab:
        outside = int(ids.max()) if int(ids.max()) >= vocab else int(ids.min())
        raise head_error(
            folder, f"predicts token {outside}, but the target has {vocab}; it was made for another target"
        )
    if len(set(ids.tolist())) != size:
        raise head_error(folder, "names a target token twice in d2t; it is damaged, fetch it again")
    return ids


def public_tensors(
    head: nn.Module, names: Mapping[str, str], leave: Iterable[str]
) -> dict[str, torch.Tensor]:
    """The tensors of `head` but `leave`, by public name."""
    return {
        names.get(name) or stored_name(name): tensor
        for name, tensor in head.state_dict().items()
        if name not in set(leave)
    }
