"""Configuration and headers of a model folder, read without its weights: torch-free.

A safetensors file begins with the length of its header in eight bytes, and the header has type and place of every
tensor, so that a cut file is recognised without being read.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectui.decoding.errors import DecodingError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
HEAD_FILES = (SINGLE, PICKLED[0])
"""Files that a draft head's tensors may be in, the preferred one first."""
PICKLED_WORDS = (
    "pickled weights, a format that can hold code; convert them to safetensors, or give --allow-pickle"
)
"""Words on weights that are refused for that reason."""
HEADER_LIMIT = 100 << 20
"""Longest header that the format allows."""


_LARGEST = {
    "num_hidden_layers": 10_000, "hidden_size": 1 << 24, "num_attention_heads": 1 << 20, "vocab_size": 1 << 31,
    "num_key_value_heads": 1 << 20,
}  # fmt: skip
"""Bounds of sizes in a configuration, under names that families share."""
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "model_type": ((str,), "word"), "text_config": ((dict,), "object"), "quantization_config": ((dict,), "object"),
    "dtype": ((str,), "word"), "torch_dtype": ((str,), "word"),
}  # fmt: skip
"""Types of other values, and what they are called."""


@dataclass(frozen=True)
class Tensor:
    """A stored tensor: its name, the format's name of its number type (``F16``, ``I32``), its bytes."""

    name: str
    dtype: str
    bytes: int


def read_config(folder: Path, *, whole: bool = True) -> dict[str, Any]:
    """``config.json`` of a model folder; `whole` adds a quantisation that another file describes.

    Raises `DecodingError` when it cannot be read.
    """
    try:
        data: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise DecodingError(f"model folder {folder} has no readable config.json: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DecodingError(f"model folder {folder} has a config.json that is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise DecodingError(f"model folder {folder} has a config.json that is no object")
    _check_values(folder, data)
    if whole and not data.get("quantization_config") and (beside := _quantized_beside(folder)):
        data["quantization_config"] = beside
    return data


def _check_values(folder: Path, data: Mapping[str, Any]) -> None:
    """Refuse values that transformers and the count of memory would go on with, or fail on without a clear message."""
    for key, (types, noun) in _TYPES.items():
        value = data.get(key)
        if value is not None and not isinstance(value, types):
            raise DecodingError(
                f"model folder {folder} has a damaged config.json: {key} is {str(value)[:60]}, and no {noun}"
            )
    for key, limit in _LARGEST.items():
        size = data.get(key, 1)
        if size is None or isinstance(size, list | dict):
            continue  # transformers knows which families leave it out, or give one of each layer
        if not (type(size) is int and 0 < size <= limit):
            raise DecodingError(
                f"model folder {folder} has a damaged config.json: {key} is {str(size)[:60]}, and no whole number "
                f"from 1 to {limit:,}"
            )


def _quantized_beside(folder: Path) -> dict[str, Any]:
    """The quantisation that AutoGPTQ or AutoAWQ described in a file of its own; empty elsewhere."""
    for name, read in QUANTIZED_BESIDE.items():
        try:
            settings = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise DecodingError(f"model folder {folder} has a damaged {name}; fetch it again") from error
        if isinstance(settings, dict):
            return read(settings)
    return {}


def _read_awq(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "quant_method": "awq",
        "bits": settings.get("w_bit"),
        "group_size": settings.get("q_group_size"),
        "zero_point": bool(settings.get("zero_point")),
        "version": str(settings.get("version") or "gemm").lower(),
    }


QUANTIZED_BESIDE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "quantize_config.json": lambda settings: {**settings, "quant_method": "gptq"},
    "quant_config.json": _read_awq,
}
"""Files of older quantisers beside ``config.json``, and functions that turn them into its ``quantization_config``."""


def shards(folder: Path) -> list[Path]:
    """The safetensors files that make up the model; empty where it has none."""
    names = _indexed(folder)
    if names:
        return [folder / name for name in names]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    files = [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]  # no link to nothing
    return files if len(files) == 1 else []


def uncommon_name(folder: Path) -> str | None:
    """The file that transformers must begin with, where it has another name than usual."""
    if (folder / SINGLE).is_file() or (folder / INDEX).is_file():
        return None
    if (index := _index(folder)).is_file():
        return index.name
    files = shards(folder)
    return files[0].name if files else None


def stored_names(folder: Path) -> set[str]:
    """Names of the stored tensors; of a pickle those in its index, read without running anything."""
    try:
        if files := shards(folder):
            return {name for path in files if path.is_file() for name, *_ in _header(path)}
        names: set[str] = set()
        for path in folder.glob("pytorch_model*.bin"):
            with zipfile.ZipFile(path) as file:
                index = next((name for name in file.namelist() if name.endswith("data.pkl")), None)
                text = (
                    file.read(index)
                    if index is not None and file.getinfo(index).file_size < HEADER_LIMIT
                    else b""
                )
            names |= {word.decode() for word in re.findall(rb"[A-Za-z0-9_.]+\.(?:weight|bias)", text)}
        return names
    except (OSError, DecodingError, zipfile.BadZipFile):
        return set()


def missing_shards(folder: Path) -> list[str]:
    """Files that the index names and the folder lacks."""
    return [name for name in _indexed(folder) if not (folder / name).is_file()]


def check_weights(folder: Path, *, pickled: bool = False) -> None:
    """Raise `DecodingError` in one line unless the weights are all there, in files that cannot run code.

    `pickled` lets a model through that only has pickle files.
    """
    missing = missing_shards(folder)
    if missing:
        raise DecodingError(
            f"model folder {folder} is not complete: {missing[0]} is missing"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}; fetch it again"
        )
    files = shards(folder)
    if not files:
        only = next((name for name in PICKLED if (folder / name).is_file()), None)
        if only is None:
            raise DecodingError(f"model folder {folder} has no {SINGLE}; fetch it again")
        if not pickled:
            raise DecodingError(f"model folder {folder} has {PICKLED_WORDS}")
    for path in files:
        check_whole(path)


def check_whole(path: Path) -> None:
    """Raise `DecodingError` when a safetensors file is shorter than its header says, or has none."""
    size = path.stat().st_size
    end = max((stop for _, _, _, stop in _header(path)), default=0)
    with path.open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
    if size < header + end:
        raise DecodingError(
            f"{path} was cut: {size:,} bytes of {header + end:,} are there; fetch the model again"
        )


def tensors(folder: Path) -> list[Tensor]:
    """Every stored tensor of the model; a pickle counts as one. Raises `DecodingError` for a damaged header."""
    if not shards(folder):
        return [Tensor(path.name, "U8", path.stat().st_size) for path in folder.glob("pytorch_model*.bin")]
    return [
        Tensor(name, dtype, stop - start)
        for path in shards(folder)
        for name, dtype, start, stop in _header(path)
    ]


def _index(folder: Path) -> Path:
    """The index of the shards, which older quantisers name after the model."""
    others = sorted(folder.glob("*.safetensors.index.json"))
    return others[0] if len(others) == 1 else folder / INDEX


def _indexed(folder: Path) -> list[str]:
    """Files that the index names. Raises `DecodingError` for one outside the folder, which belongs to no model."""
    index = _index(folder)
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = next((name for name in names if Path(name).is_absolute() or ".." in Path(name).parts), None)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DecodingError(f"{index} is damaged; fetch the model again") from error
    if outside is not None:
        raise DecodingError(
            f"{index} names a file outside its folder ({outside[:100]!r}); fetch the model again"
        )
    return names


def _header(path: Path) -> Iterator[tuple[str, str, int, int]]:
    """Name, type, first and last offset of each tensor."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= HEADER_LIMIT:
                raise ValueError("no header")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                start, stop = tensor["data_offsets"]
                yield name, str(tensor["dtype"]), int(start), int(stop)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DecodingError(f"{path} is damaged or cut; fetch the model again") from error
