"""Loads one model or tokenizer by transformers, with progress, and with errors in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from spectui.decoding.checkpoints.generation_file import check_generation_file, end_tokens, explain_refusal
from spectui.decoding.checkpoints.hub import Progress
from spectui.decoding.checkpoints.tokenizer_files import damaged_file
from spectui.decoding.checkpoints.weight_files import check_weights, read_config, uncommon_name
from spectui.decoding.errors import DecodingError, explain_model_error
from spectui.decoding.models.families import register_family
from spectui.decoding.models.placement import Placement, most_per_gpu
from spectui.decoding.models.quantization import check_quantization, method, quantization
from spectui.decoding.target.sizes import embedding_rows
from spectui.decoding.tokens.vocabulary import Vocabulary

_UNREADABLE = (
    OSError, ValueError, LookupError, ImportError, RuntimeError, TypeError, AttributeError, NameError, AssertionError,
    ArithmeticError, SafetensorError, StrictDataclassError,
)  # fmt: skip
"""Errors that transformers, and packages for quantised models, may raise on an unsound checkpoint."""


def load_model(
    folder: Path, placement: Placement, dtype: str, stage: str, tell: Progress, *, allow_pickle: bool = False
) -> Any:
    """The causal language model in `folder`, in evaluation mode.

    Raises `DecodingError` in one line: files that are missing, cut or, unless `allow_pickle`, only pickled;
    quantisations that cannot be read here; code of the model's own; no memory.
    """
    config = read_config(folder)
    register_family(config)
    check_quantization(str(folder), config)
    check_generation_file(str(folder), folder)
    check_weights(folder, pickled=allow_pickle)
    tell(stage, None, None, "")
    try:
        with _reporting(stage, tell):
            options = _options(placement, dtype, allow_pickle) | _config_option(folder, config)
            model, info = _from_pretrained(folder, options)
        missing = sorted(info.get("missing_keys") or ())
        if missing and not method(config):
            # transformers makes up what a checkpoint lacks, and the output is noise.
            raise DecodingError(
                f"model folder {folder} lacks the tensor '{missing[0]}' ({len(missing)} in all); fetch it again"
            )
        return (model if hasattr(model, "hf_device_map") else model.to(placement.device)).eval()
    except torch.OutOfMemoryError as error:
        raise DecodingError(_no_room(folder, placement)) from error
    except _UNREADABLE as error:
        if "can't allocate memory" in str(error):
            raise DecodingError(_no_room(folder, placement)) from error
        if (reason := explain_refusal(folder)) is not None:
            raise DecodingError(f"model '{folder}' cannot be loaded: {reason}") from error
        if "ignore_mismatched_sizes" in str(error):  # transformers prints which, and says so
            from spectui.decoding.models.described import unfit_tensor

            if (words := unfit_tensor(folder)) is not None:
                raise DecodingError(f"model folder {folder} {words}") from error
        problem = f"model '{folder}' cannot be loaded"
        raise DecodingError(explain_model_error(folder, error, problem)) from error


def load_tokenizer(folder: Path, model: Any | None) -> Vocabulary:
    """The tokenizer in `folder`; end tokens are those of `model`'s generation settings too."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer("a")  # some settings are looked at only now
    except _UNREADABLE as error:
        if damage := damaged_file(folder):
            raise DecodingError(f"tokenizer of model '{folder}' cannot be loaded: {damage}") from error
        problem = f"model '{folder}' cannot be loaded"
        raise DecodingError(f"tokenizer of {explain_model_error(folder, error, problem)}") from error
    settings = getattr(model, "generation_config", None)
    ends = end_tokens(str(folder), getattr(settings, "eos_token_id", None))
    return Vocabulary(tokenizer, ends, None if model is None else embedding_rows(model))


def _options(placement: Placement, dtype: str, allow_pickle: bool) -> dict[str, Any]:
    on_cpu = placement.device.type == "cpu"
    kind: Any = getattr(torch, dtype) if dtype != "auto" else torch.float32 if on_cpu else "auto"
    options: dict[str, Any] = {"dtype": kind, "attn_implementation": "sdpa", "output_loading_info": True}
    # Nothing that comes with a model is run: neither its code nor what a pickle may hold.
    options |= {"trust_remote_code": False, "use_safetensors": None if allow_pickle else True}
    if placement.spread:
        options |= {"device_map": "auto", "max_memory": most_per_gpu(placement)}
    elif not on_cpu and find_spec("accelerate") is not None:
        # Straight onto the GPU; without accelerate by way of the host's memory.
        options["device_map"] = {"": placement.device}
    return options


def _config_option(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration to load with, where files beside ``config.json`` add to it, or have unusual names."""
    name = uncommon_name(folder)
    quantized = quantization(config)
    if name is None and quantized == quantization(read_config(folder, whole=False)):
        return {}
    from transformers import AutoConfig

    built = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if quantized:
        built.quantization_config = dict(quantized)
    if name is not None:
        built.transformers_weights = name
    return {"config": built}


def _from_pretrained(folder: Path, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        loaded: tuple[Any, dict[str, Any]] = AutoModelForCausalLM.from_pretrained(folder, **options)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        loaded = AutoModelForCausalLM.from_pretrained(folder, **{**options, "attn_implementation": "eager"})
    return loaded


@contextlib.contextmanager
def _reporting(stage: str, tell: Progress) -> Iterator[None]:
    """Inside, `tell` is called with the number of tensors that transformers has loaded."""
    from transformers.utils import logging

    class Bar:
        """Stands in for a tqdm over an iterable."""

        def __init__(self, *args: Any, total: int | None = None, desc: str = "", **_: Any) -> None:
            self._items = args[0] if args else ()
            self._total = (
                total if total is not None else len(self._items) if hasattr(self._items, "__len__") else None
            )
            self._of_weights = desc == "Loading weights"

        def __iter__(self) -> Iterator[Any]:
            for done, item in enumerate(self._items, start=1):
                yield item
                if self._of_weights:
                    tell(stage, float(done), float(self._total or 0) or None, "tensors")

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def __getattr__(self, _: str) -> Any:
            return lambda *_, **__: None

    before = logging.set_tqdm_hook(lambda _factory, args, kwargs: Bar(*args, **kwargs))
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _no_room(folder: Path, placement: Placement) -> str:
    return (
        f"model '{folder}' does not fit on {placement.device}; use a smaller or quantised model, or --dtype"
    )
