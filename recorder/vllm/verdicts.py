"""Figures of the target and verdicts, from the process that runs the model, under both of vLLM's model runners."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from spectui.recorder.figures import BEST, BEST_P, ENTROPY, Later, P, figures, is_capturing, on_device
from spectui.recorder.rows import Drafted, Judged, verdicts
from spectui.recorder.sink import Sink
from spectui.recorder.vllm.drafts import Drafts

if TYPE_CHECKING:
    import torch


class Rank:
    """The process that writes: tensor parallel rank 0 of the last stage, where all have the same logits.

    Where the ranks share out a batch's requests, each of them does.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._records: bool | None = None

    def share(self, *_: object, **__: object) -> None:
        """Record here from now on: this rank has requests that no other has."""
        self._records = True

    def records(self, device: object, *, v2: bool = False) -> bool:
        """True where it does; begins to write when asked for the first time."""
        if self._records is None:
            self._records = is_recording_rank()
        if self._records and not self._sink.begun:
            import vllm

            self._sink.begin({"vllm": vllm.__version__, "device": str(device), "v2": v2})
        return self._records


def is_recording_rank() -> bool:
    """True where this process is the one of its group that records."""
    from vllm.distributed.parallel_state import get_pp_group, get_tensor_model_parallel_rank

    return bool(get_tensor_model_parallel_rank() == 0 and get_pp_group().is_last_rank)


class Packed:
    """Figures of the drafted rows of a batch, in one tensor."""

    def __init__(
        self,
        sink: Sink,
        requests: list[str],
        counts: list[int],
        places: list[int],
        logits: torch.Tensor,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        positions: torch.Tensor,
    ) -> None:
        import torch

        settings = sink.settings
        self._settings, self._requests, self._counts = settings, requests, counts
        self.places = places
        """Of the requests in the batch."""
        self._names = ["tokens", "position"]
        columns = [tokens.float(), positions.float()]
        if settings.target:
            of_rows = figures(logits, rows, tokens, entropy=settings.entropy)
            self._names += ["p", "argmax", "argmax_p"]
            columns += [of_rows[P], of_rows[BEST], of_rows[BEST_P]]
            if settings.entropy:
                self._names.append("entropy")
                columns.append(of_rows[ENTROPY])
        self._columns = columns
        self._packed = torch.stack(columns)

    def add_draft(self, logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """Figures of the draft model, whose logits the runner kept."""
        import torch

        of_rows = figures(logits, rows, tokens, entropy=self._settings.entropy)
        self._names += ["draft_p", *(["draft_entropy"] if self._settings.entropy else [])]
        self._packed = torch.cat([self._packed, of_rows[[P, *([ENTROPY] if self._settings.entropy else [])]]])

    def later(self, *others: torch.Tensor) -> Later:
        """It and others on their way to the host. Others are copied first: they are the runner's."""
        return Later(self._packed, *(tensor.clone() for tensor in others))

    def row(self, columns: list[list[float]], sampled: list[list[int]], drafted: dict[str, Drafted]) -> Any:
        """The row of this step."""
        named = dict(zip(self._names, columns, strict=True))
        if "draft_p" in named:
            at = 0
            for request, count in zip(self._requests, self._counts, strict=True):
                part = slice(at, at + count)
                at += count
                entropy = named["draft_entropy"][part] if "draft_entropy" in named else None
                tokens = [int(token) for token in named["tokens"][part]]
                drafted[request] = Drafted(tokens, named["draft_p"][part], entropy)
        judged = Judged(
            self._requests,
            self._counts,
            named["tokens"],
            named["position"],
            named.get("p"),
            named.get("argmax"),
            named.get("argmax_p"),
            named.get("entropy"),
            sampled,
        )
        return verdicts(judged, drafted, self._settings)


class VerdictsV1:
    """Wraps the sampling of model runner V1."""

    def __init__(self, sink: Sink, rank: Rank, drafts: Drafts | None) -> None:
        self._sink, self._rank, self._drafts = sink, rank, drafts
        self._part = sink.part("target")

    def change(self, module: Any) -> None:
        """Wrap the runner's methods."""
        self._part.attempt(self._wrap, module.GPUModelRunner)
        if self._drafts:
            self._drafts.wrap_runner(module.GPUModelRunner)

    def _wrap(self, runner: type) -> None:
        parameters = ("self", "logits", "spec_decode_metadata")
        self._part.wrap(runner, "_sample", parameters, before=self._before, after=self._after, meter="target")

    def _before(self, runner: Any, logits: Any, spec_decode_metadata: Any) -> Packed | None:
        # Before the sampler, which may change the logits.
        known = spec_decode_metadata
        if known is None or logits is None or not known.max_spec_len or is_capturing(logits):
            return None
        if not self._rank.records(runner.device):
            return None
        requests, chooses = runner.input_batch.req_ids, self._sink.settings.chooses
        places: list[int] = []
        chosen: list[int] = []
        at = 0
        for place, count in enumerate(known.num_draft_tokens):
            if count and chooses(requests[place]):
                places.append(place)
                chosen += range(at, at + count)
            at += count
        if not places:
            return None
        rows, tokens = known.target_logits_indices, known.draft_token_ids
        if len(chosen) < at:
            wanted = on_device(chosen, logits.device)
            rows, tokens = rows[wanted], tokens[wanted]
        return Packed(
            self._sink,
            [requests[place] for place in places],
            [known.num_draft_tokens[place] for place in places],
            places,
            logits,
            rows,
            tokens,
            runner.positions[known.logits_indices[rows]],
        )

    def _after(self, packed: Packed, output: Any, *args: object, **kwargs: object) -> None:
        later = packed.later(output.sampled_token_ids)
        last = self._drafts.take() if self._drafts else None

        def row() -> Any:
            columns, every = later.get()
            sampled = [[token for token in every[place] if token >= 0] for place in packed.places]
            return packed.row(columns, sampled, last.get() if last else {})

        self._sink.put(self._part, row)


class VerdictsV2:
    """Wraps the rejection sampler of model runner V2. Tests check its indices on a small batch; no GPU has run it."""

    def __init__(self, sink: Sink, rank: Rank) -> None:
        self._sink, self._rank = sink, rank
        self._part = sink.part("target V2")

    def change(self, module: Any) -> None:
        """Wrap the sampler's call."""
        self._part.attempt(self._wrap, module.RejectionSampler)

    def change_sharing(self, module: Any) -> None:
        """Wrap the method that shares out a batch: without it, rank 0 would look complete."""
        self._part.attempt(self._wrap_sharing, module.BatchSharder)

    def _wrap_sharing(self, sharder: type) -> None:
        parameters = ("self", "input_batch", "grammar_output")
        self._part.wrap(sharder, "shard_sampler_inputs", parameters, before=self._rank.share, meter="sharing")

    def _wrap(self, sampler: type) -> None:
        parameters = ("self", "logits", "input_batch", "draft_logits", "invalid_drafts")
        self._part.wrap(
            sampler, "__call__", parameters, before=self._before, after=self._after, meter="target V2"
        )

    def _before(
        self,
        sampler: Any,
        logits: Any,
        input_batch: Any,
        draft_logits: Any = None,
        invalid_drafts: Any = None,
    ) -> Packed | None:
        # Adaptive verification cuts rows on the device: what the host knows of them is stale.
        if getattr(sampler, "enable_adaptive_verification", False) or is_capturing(logits):
            return None
        bounds = [int(bound) for bound in input_batch.cu_num_logits_np]
        requests, chooses = input_batch.req_ids, self._sink.settings.chooses
        places = [
            place
            for place, (begin, end) in enumerate(pairwise(bounds))
            if end - begin > 1 and chooses(requests[place])
        ]
        if not places or not self._rank.records(logits.device, v2=True):
            return None
        # Of a request's rows the last one is of the token after all drafts.
        rows = on_device(
            [row for place in places for row in range(bounds[place], bounds[place + 1] - 1)], logits.device
        )
        in_batch = input_batch.logits_indices
        tokens = input_batch.input_ids[in_batch[rows + 1]]
        packed = Packed(
            self._sink,
            [requests[place] for place in places],
            [bounds[place + 1] - bounds[place] - 1 for place in places],
            places,
            logits,
            rows,
            tokens,
            input_batch.positions[in_batch[rows]],
        )
        # A draft vocabulary of its own would name other tokens.
        known = draft_logits is not None and draft_logits.shape[-1] >= logits.shape[-1]
        if known and self._sink.settings.draft:
            steps = draft_logits.shape[1]  # [requests, steps, vocabulary]
            slots = input_batch.expanded_idx_mapping[rows].long() * steps
            levels = input_batch.expanded_local_pos[rows].long().clamp(max=steps - 1)
            packed.add_draft(draft_logits.view(-1, draft_logits.shape[-1]), slots + levels, tokens)
        return packed

    def _after(self, packed: Packed, output: Any, *args: object, **kwargs: object) -> None:
        later = packed.later(output.sampled_token_ids, output.num_sampled)

        def row() -> Any:
            columns, every, numbers = later.get()
            sampled = [every[place][: numbers[place]] for place in packed.places]
            return packed.row(columns, sampled, {})

        self._sink.put(self._part, row)
