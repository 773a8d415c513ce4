"""Memory of decoders: errors that say that there is none left, and the return of what those out of use have held."""

from __future__ import annotations

import gc

import torch


def free_unused() -> None:
    """Free the caches of decoders that are not in use any more: their layers know their caches, so that only the
    garbage collector finds them."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """True where `error` says that the device, or the host, has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # PyTorch's allocator for the CPU has no exception of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
