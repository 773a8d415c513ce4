"""Importing torch and transformers without what no run on a CPU uses: half of the time until they are there.

That half goes into PyTorch's compiler (for decorators that change nothing where nothing is compiled), its
distributed tensors, its second set of shape rules (and sympy for them), scipy (for losses), and looking through
three thousand files for names that nobody asks for. Here they are stood in for, or said to be absent. Whoever asks a
stand-in for what it does not have gets the real module, later and at its price.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

COMPILER, TRACING, SHAPE_RULES, MODELS = (
    "torch._dynamo",
    "torch._dynamo._trace_wrapped_higher_order_op",
    "torch._meta_registrations",
    "transformers.models",
)
GENERATORS = "torch._prims.rng_prims"
"""What else the shape rules bring in: random generators cannot be made without."""


def import_torch() -> None:
    """Import torch with the shape rules of its operators alone, which are those a model is laid out with.

    See `add_shape_rules`. Does nothing where there is a GPU, or where torch was imported before.
    """
    if "torch" in sys.modules:
        return
    _stand_in(SHAPE_RULES)
    import torch

    try:
        import_module(GENERATORS)
    except ImportError:  # another version of torch
        real(SHAPE_RULES)
    if torch.cuda.is_available():
        add_shape_rules()


def add_shape_rules() -> bool:
    """Import the rules that `import_torch` left out; returns whether there were any."""
    left_out = isinstance(sys.modules.get(SHAPE_RULES), StandIn)
    if left_out:
        real(SHAPE_RULES)
    return left_out


def import_transformers() -> None:
    """Import transformers, which then takes this process for one without `torch.distributed` and scipy.

    Everybody else imports both as ever. Does nothing where there is a GPU, whose formats and kernels may need
    any of this, or where transformers was imported before.
    """
    import torch

    if "transformers" in sys.modules or torch.cuda.is_available():
        return
    _stand_in_for_compiler()
    with _hidden("scipy"), _undistributed():
        import transformers
        from transformers.utils import import_utils

        for name in ("is_scipy_available", "is_torch_distributed_available"):
            getattr(import_utils, name, bool)()  # they remember their answer
    _stand_in_for_models(Path(transformers.__file__).parent / "models")


class StandIn(ModuleType):
    """In the place of a module that costs much; imports it when it is asked for what it does not have."""

    def __getattr__(self, name: str) -> Any:
        # Importing itself asks for these; submodules are those of the real one.
        if name.startswith("__") and not (name == "__path__" and self.__name__ == COMPILER):
            raise AttributeError(name)
        if any((Path(folder) / name).is_dir() for folder in self.__dict__.get("__path__", ())):
            return import_module(f"{self.__name__}.{name}")
        return getattr(real(self.__name__), name)


def real(name: str) -> ModuleType:
    """The module of that name, imported now if a `StandIn` had its place; so is what it is part of."""
    gone = {
        other: module
        for other, module in list(sys.modules.items())
        if isinstance(module, StandIn)
        and (f"{name}.".startswith(f"{other}.") or other.startswith(f"{name}."))
    }
    for other in gone:
        del sys.modules[other]
    module = import_module(name)
    for other, stand_in in gone.items():  # for whoever keeps it
        if other in sys.modules:
            vars(stand_in).update(vars(sys.modules[other]))
    return module


def _stand_in(name: str, **attributes: Any) -> None:
    if name not in sys.modules:
        sys.modules[name] = stand_in = StandIn(name)
        vars(stand_in).update(attributes)


def _stand_in_for_compiler() -> None:
    """Its decorators return the function as it is."""
    if COMPILER in sys.modules:
        return
    _stand_in(
        COMPILER, **dict.fromkeys(("disable", "allow_in_graph", "assume_constant_result"), _undecorated)
    )
    _stand_in(TRACING, TransformGetItemToIndex=lambda: real(TRACING).TransformGetItemToIndex())


def _undecorated(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """A decorator, with or without arguments, that changes nothing."""
    return (lambda f: f) if function is None else function


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """`package` cannot be imported, as on a machine without it."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _undistributed() -> Iterator[None]:
    """PyTorch says, as some builds of it do, that it was made without `torch.distributed`."""
    import torch.distributed

    answer = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        yield
    finally:
        torch.distributed.is_available = answer


def _stand_in_for_models(folder: Path) -> None:
    """Let submodules of `transformers.models` be imported without the list of every name in all of them."""
    if folder.is_dir():
        _stand_in(MODELS, __spec__=find_spec(MODELS), __path__=[str(folder)])
