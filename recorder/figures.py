"""Figures of logits, on the device that has them, and their way to the host; `torch` is the server's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

AT_ONCE = 2**21
"""Logits that are worked on at a time: some tens of rows, so that temporary tensors stay under 30 MB."""
P, BEST, BEST_P, ENTROPY = range(4)


def figures(logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor, *, entropy: bool) -> torch.Tensor:
    """For some rows: a token's probability, the likeliest token, its probability, and the entropy in nats, if wanted.

    [3 or 4, rows], float32 (token ids are exact in it up to 16 million). The logits are left as they are.
    """
    import torch

    chunk = max(1, AT_ONCE // logits.shape[-1])
    parts = []
    for at in range(0, rows.shape[0], chunk):
        shifted = logits[rows[at : at + chunk]].float()
        top, best = shifted.max(-1)
        shifted -= top[:, None]
        # A draft that the grammar refused may be -1: no index.
        wanted = tokens[at : at + chunk, None].long().clamp(0, logits.shape[-1] - 1)
        picked = shifted.gather(1, wanted).squeeze(1)
        exponents = shifted.exp()
        log_sum = exponents.sum(-1).log()
        columns = [(picked - log_sum).exp(), best.float(), (-log_sum).exp()]
        if entropy:
            # Where a grammar has put -inf, e is 0 and must not become 0 times inf.
            weighted = exponents.mul_(shifted.clamp_(min=-1e30)).sum(-1)
            columns.append(log_sum - weighted / log_sum.exp())
        parts.append(torch.stack(columns))
    return torch.cat(parts, 1)


def on_device(numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """Numbers as a tensor there, without waiting for the device."""
    import torch

    there = torch.tensor(numbers, dtype=torch.int64)
    return there.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else there.to(device)


def is_capturing(tensor: torch.Tensor) -> bool:
    """True while a CUDA graph is being recorded, into which nothing of ours must get."""
    import torch

    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


class Later:
    """Tensors on their way to the host, on CUDA on a stream of their own: only `get`, in the writer's thread, waits."""

    _streams: dict[Any, Any] = {}  # noqa: RUF012

    def __init__(self, *tensors: torch.Tensor) -> None:
        import torch

        self._there: tuple[torch.Tensor, ...] = tensors
        self._copied: Any = None
        self._here: tuple[torch.Tensor, ...] = tensors
        device = tensors[0].device
        if device.type == "cuda":
            if device not in self._streams:
                self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream = self._streams[device]
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                self._here = tuple(tensor.to("cpu", non_blocking=True) for tensor in tensors)
                self._copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
                self._copied.record(stream)

    def get(self) -> list[Any]:
        """Their values as lists."""
        if self._copied is not None:
            self._copied.synchronize()
        self._there = ()
        return [tensor.tolist() for tensor in self._here]
