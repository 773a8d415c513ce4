"""A model's `generation_config.json` applied to decoding, so that output stays that of transformers' `generate`.

transformers' own logits processors are called for every row of a tree, each with the ids that lead to it: the
prompt, what was committed, and the path to the node. Temperature, top-p and the like are left to the run's options.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from spectui.decoding.checkpoints.generation_file import NAME, end_tokens
from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.target.distributions import distribution
from spectui.decoding.target.sizes import text_config
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import ROOT, IntArray

APPLIED: dict[str, Any] = {
    "repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0, "sequence_bias": None, "bad_words_ids": None, "suppress_tokens": None,
    "begin_suppress_tokens": None, "min_length": 0, "min_new_tokens": 0, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "exponential_decay_length_penalty": None, "remove_invalid_values": False,
    "watermarking_config": None, "renormalize_logits": False, "stop_strings": None,
}  # fmt: skip
"""Settings that are functions of the ids so far, and the value with which each does nothing (None always does)."""

NOT_APPLIED: dict[str, Any] = {
    "num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "penalty_alpha": 0.0, "dola_layers": None,
    "constraints": None, "force_words_ids": None, "guidance_scale": 1.0, "token_healing": False, "max_time": None,
    "assistant_ensemble_weight": None, "cache_implementation": None,
}  # fmt: skip
"""Settings that change what `generate` gives and have no meaning on a tree, as above."""

SAMPLING: dict[str, Any] = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None, "top_h": None, "typical_p": 1.0,
    "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
}  # fmt: skip
"""Settings of sampling, in force where `do_sample` is set; here `--temperature` and `--top-p` alone decide."""

_SAME_RESULT = (
    "dynamic",
    "dynamic_full",
    "static",
    "hybrid",
    "hybrid_chunked",
    "sliding_window",
    "offloaded",
)
"""Kinds of cache that hold the same numbers."""

_LAST = ("LogitNormalization", "WatermarkLogitsProcessor")
"""Processors that `generate` calls behind temperature and top-p."""


class GenerationSettings:
    """The settings of one model as one run obeys them; with `RunConfig.raw` none.

    `end_ids` end an output: those that the model's settings name, or where they name none the tokenizer's; with
    `raw` both. `applied` says in words what is obeyed. `temperature` and `top_p` are what is left to do to logits
    that `PromptSettings.processed` gives. Raises `DecodingError` for settings that `generate` would refuse too.
    """

    def __init__(self, model: Any, config: RunConfig, vocabulary: Vocabulary) -> None:
        self.model, self.config, self.vocabulary = model, config, vocabulary
        self.model_settings: Any = getattr(model, "generation_config", None)
        """transformers' `GenerationConfig`; None for a model that has none."""
        self.end_ids = vocabulary.end_ids if config.raw else vocabulary.model_end_ids
        self.applied = () if config.raw else tuple(asked_for(model))
        self.warps = (
            not config.raw and not config.greedy and _active(self.model_settings, "watermarking_config")
        )
        """`processed` applies temperature and top-p itself, as a watermark comes behind them."""
        self.temperature, self.top_p = (1.0, 1.0) if self.warps else (config.temperature, config.top_p)
        if self.applied:
            self._try_out()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user, a phrase each; with `raw` only the settings that are left out."""
        settings, notes = self.model_settings, []
        if self.config.raw:
            left_out = asked_for(self.model)
            return (f"--raw leaves out of generation_config.json: {', '.join(left_out)}",) if left_out else ()
        if self.applied:
            notes.append(f"applied from generation_config.json: {', '.join(self.applied)}")
        if not_applied := _named(settings, NOT_APPLIED):
            notes.append(
                f"not applied from generation_config.json: {', '.join(not_applied)}; output is that of generate without"
            )
        if sampling := _named(settings, SAMPLING) if getattr(settings, "do_sample", None) else []:
            reason = "decoding is greedy" if self.config.greedy else "--temperature and --top-p alone decide"
            notes.append(f"sampling of generation_config.json is not used ({', '.join(sampling)}): {reason}")
        if unheard := sorted(self.vocabulary.end_ids - self.end_ids):
            notes.append(
                f"token {unheard[0]} ({self.vocabulary.text_of(unheard[0])!r}) ends nothing: generation_config.json"
                " names other end tokens than the tokenizer (--raw stops at both)"
            )
        return tuple(notes)

    @property
    def not_finite(self) -> str:
        """Possible reasons for logits that are no finite numbers."""
        why = "its weights are damaged, or --dtype is too narrow for it"
        if self.applied:
            why += f", or {NAME} ({', '.join(self.applied)}) makes them so, which --raw leaves out"
        return why

    @property
    def neutral(self) -> dict[str, Any]:
        """Arguments with which `generate` leaves out the settings that are not applied here, and has its tokenizer."""
        if self.config.raw:
            names = (*APPLIED, *NOT_APPLIED)
            return {name: {**APPLIED, **NOT_APPLIED}[name] for name in names}
        arguments = {name: NOT_APPLIED[name] for name in NOT_APPLIED if _active(self.model_settings, name)}
        if _active(self.model_settings, "stop_strings"):
            arguments["tokenizer"] = self.vocabulary.tokenizer
        return arguments

    def begin(self, ids: Sequence[int]) -> PromptSettings | None:
        """The settings on a prompt; None where nothing has to be done."""
        if not self.applied:
            return None
        return PromptSettings(self, ids, self.model.device)

    def processors(self, prompt: torch.Tensor, new_tokens: int) -> tuple[Any, Any]:
        """transformers' processors for `prompt` ``[1, L]`` and at most `new_tokens` new tokens.

        First those that come before temperature and top-p, then those behind.
        """
        settings = copy.deepcopy(self.model_settings)
        device, length = prompt.device, prompt.shape[1]
        for name in APPLIED:
            if not _active(settings, name):
                setattr(settings, name, None)
        # As `generate` prepares them: warpers are the run's own, beams and guidance are not applied.
        settings.do_sample, settings.guidance_scale, settings.max_length = False, None, length + new_tokens
        if settings.min_new_tokens is not None:
            settings.min_length = settings.min_new_tokens + length
        ends = end_tokens(self.config.target, settings.eos_token_id)
        settings._eos_token_tensor = torch.tensor(ends, device=device) if ends else None
        if settings.exponential_decay_length_penalty is not None and not ends:
            settings.exponential_decay_length_penalty = None
        processors = self.model._get_logits_processor(
            settings, input_ids_seq_length=length, encoder_input_ids=prompt, device=device, model_kwargs={}
        )
        first, last = type(processors)(), type(processors)()
        for processor in processors:
            (last if type(processor).__name__ in _LAST else first).append(processor)
        return first, last

    def _try_out(self) -> None:
        """Raise `DecodingError` now for what would fail at the first prompt, on a GPU by a lost device."""
        width = int(text_config(self.model.config).vocab_size)
        ends = end_tokens(self.config.target, self.model_settings.eos_token_id)
        try:
            if _active(self.model_settings, "stop_strings"):
                _stop_criterion(self)
            for prompt in ([0], [0, 0]):
                ids = torch.tensor([prompt])
                for most in (1, 2):
                    for processors in self.processors(ids, most):
                        processors(ids, torch.zeros(1, width))
            if self.model_settings.exponential_decay_length_penalty is not None and not all(
                0 <= i < width for i in ends
            ):
                raise ValueError(f"an end token of {ends} is none of the {width} that the model has")
        except (ValueError, TypeError, IndexError, KeyError, RuntimeError, AttributeError) as error:
            raise DecodingError(
                f"the settings of model '{self.config.target}' (generation_config.json: {', '.join(self.applied)}) "
                f"cannot be applied: {' '.join(str(error).split())[:200]}; mend them, or decode with --raw"
            ) from error


def asked_for(model: Any) -> list[str]:
    """The settings of `model` in force, with their values, beside end tokens and sampling."""
    return _named(getattr(model, "generation_config", None), APPLIED)


class PromptSettings:
    """The settings of a model on one prompt, with all tokens committed so far."""

    def __init__(self, settings: GenerationSettings, ids: Sequence[int], device: torch.device) -> None:
        self._settings = settings
        self._ids = torch.tensor([list(ids)], dtype=torch.int64, device=device)
        self._first, self._last = settings.processors(self._ids, settings.config.max_new_tokens)
        self._stop = _stop_criterion(settings) if _active(settings.model_settings, "stop_strings") else None

    @torch.inference_mode()
    def processed(self, token: IntArray, parent: IntArray, logits: torch.Tensor) -> torch.Tensor:
        """The logits of a tree after the processors, each row with the ids that lead to it, as in `generate`.

        `logits` are ``[N + 1, V]``, float32, behind the root and the nodes (`token` and `parent` ``[N]``).
        """
        paths = _paths(token, parent)
        out = torch.empty_like(logits)
        for depth in sorted({len(path) for path in paths}):
            rows = [row for row, path in enumerate(paths) if len(path) == depth]
            ids = self._ids.expand(len(rows), -1)
            if depth:
                below = torch.tensor([paths[row] for row in rows], dtype=torch.int64)
                ids = torch.cat([ids, below.to(ids.device)], dim=1)
            index = torch.tensor(rows, device=logits.device)
            out[index] = self._process_rows(ids, logits[index])
        # Where every token is forbidden, `generate` takes the first.
        all_forbidden = out.amax(-1) == -torch.inf
        out[:, 0] = torch.where(all_forbidden, 0.0, out[:, 0])
        return out

    def _process_rows(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        config = self._settings.config
        logits = self._first(ids, logits)
        if config.greedy:
            greedy: torch.Tensor = self._last(ids, logits)
            return greedy
        if self._settings.warps:
            logits = self._last(ids, distribution(logits, config.temperature, config.top_p).log())
        return logits

    def commit(self, tokens: Sequence[int]) -> None:
        """Go on behind `tokens`."""
        added = torch.tensor([list(tokens)], dtype=torch.int64).to(self._ids.device)
        self._ids = torch.cat([self._ids, added], dim=1)

    def stops(self, tokens: Sequence[int]) -> bool:
        """True when a stop string ends the output with `tokens`, behind those that were committed."""
        if self._stop is None:
            return False
        added = torch.tensor([list(tokens)], dtype=torch.int64)
        return bool(self._stop(torch.cat([self._ids.cpu(), added], dim=1), None).any())


def _stop_criterion(settings: GenerationSettings) -> Any:
    from transformers.generation.stopping_criteria import StopStringCriteria

    return StopStringCriteria(settings.vocabulary.tokenizer, settings.model_settings.stop_strings)


def _paths(token: IntArray, parent: IntArray) -> list[list[int]]:
    """The tokens from below the root to each row, the root's row first."""
    paths: list[list[int]] = [[]]
    for node_token, above in zip(token.tolist(), parent.tolist(), strict=True):
        paths.append([*paths[0 if above == ROOT else above + 1], node_token])
    return paths


def _active(settings: Any, name: str) -> bool:
    value, idle = getattr(settings, name, None), {**APPLIED, **NOT_APPLIED, **SAMPLING}[name]
    if name == "cache_implementation":
        return value is not None and value not in _SAME_RESULT
    if value is None or value == idle or value is False:
        return False
    return not (isinstance(value, list | tuple | dict) and not value)


def _named(settings: Any, names: dict[str, Any]) -> list[str]:
    """Settings of `names` that are in force, with their values where these are short."""
    return [f"{name} {_short(getattr(settings, name))}".rstrip() for name in names if _active(settings, name)]


def _short(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return f"({len(value)})" if len(str(value)) > 24 else str(value)
    return "" if value is True or not isinstance(value, str | int | float) else f"{value}"
