"""Import of torch and transformers without the parts that no run on a CPU uses.

Those parts are PyTorch's compiler (for decorators that change nothing where nothing is compiled), its distributed
tensors, its second set of shape rules (and sympy for them), scipy (for losses), and a search of three thousand files
for names. They are replaced by stand-ins, or hidden; a `StandIn` imports the real module when it is asked for an
attribute that it lacks. Without all this the first round of a second start took 1.7 s of CPU time more (1.4 to 1.8,
nine pairs of starts on two cores, 30 November 2026).

As it depends on the inside of both packages, it is done for the versions in `TESTED` alone; with any others both are
imported plainly.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

TESTED = {"torch": "2.13.0", "transformers": "5.23.0"}
"""Versions that the stand-ins were tested with, those of ``constraints.txt``, whatever build tag follows."""

COMPILER, TRACING, SHAPE_RULES, MODELS = (
    "torch._dynamo",
    "torch._dynamo._trace_wrapped_higher_order_op",
    "torch._meta_registrations",
    "transformers.models",
)
GENERATORS = "torch._prims.rng_prims"
"""Imported by the shape rules too: random generators need it."""


def is_tested() -> bool:
    """True when the installed torch and transformers are of the versions in `TESTED`."""
    try:
        return all(version(name).partition("+")[0] == tested for name, tested in TESTED.items())
    except PackageNotFoundError:
        return False


def import_torch() -> None:
    """Import torch without its second set of shape rules; see `add_shape_rules`.

    Plainly with a GPU or with versions that are not `TESTED`.
    """
    if "torch" in sys.modules or not is_tested():
        return
    _stand_in(SHAPE_RULES)
    import torch

    import_module(GENERATORS)
    if torch.cuda.is_available():
        add_shape_rules()


def add_shape_rules() -> bool:
    """Import the rules that `import_torch` left out; returns False when there were none."""
    left_out = isinstance(sys.modules.get(SHAPE_RULES), StandIn)
    if left_out:
        real(SHAPE_RULES)
    return left_out


def import_transformers() -> None:
    """Import transformers as if there were neither `torch.distributed` nor scipy; other modules still import both.

    Plainly with a GPU, whose formats and kernels may need them, or with versions that are not `TESTED`.
    """
    import torch

    if "transformers" in sys.modules or not is_tested() or torch.cuda.is_available():
        return
    _stand_in_for_compiler()
    with _hidden("scipy"), _undistributed():
        import transformers
        from transformers.utils import import_utils

        for name in ("is_scipy_available", "is_torch_distributed_available"):
            getattr(import_utils, name)()  # they remember their answer
    _stand_in_for_models(Path(transformers.__file__).parent / "models")


class StandIn(ModuleType):
    """Stands in for an expensive module, and imports it when it is asked for an attribute that it lacks."""

    def __getattr__(self, name: str) -> Any:
        # Importing itself asks for these; submodules are those of the real one.
        if name.startswith("__") and not (name == "__path__" and self.__name__ == COMPILER):
            raise AttributeError(name)
        if any((Path(folder) / name).is_dir() for folder in self.__dict__.get("__path__", ())):
            return import_module(f"{self.__name__}.{name}")
        return getattr(real(self.__name__), name)


def real(name: str) -> ModuleType:
    """The real module `name` and its parents, imported now where a `StandIn` has their place."""
    replaced = {
        other: module
        for other, module in list(sys.modules.items())
        if isinstance(module, StandIn)
        and (f"{name}.".startswith(f"{other}.") or other.startswith(f"{name}."))
    }
    for other in replaced:
        del sys.modules[other]
    module = import_module(name)
    for other, stand_in in replaced.items():  # for modules that hold a reference to it
        if other in sys.modules:
            vars(stand_in).update(vars(sys.modules[other]))
    return module


def _stand_in(name: str, **attributes: Any) -> None:
    if name not in sys.modules:
        sys.modules[name] = stand_in = StandIn(name)
        vars(stand_in).update(attributes)


def _stand_in_for_compiler() -> None:
    """Stand in for the compiler with decorators that return the function as it is."""
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
    """Inside, `package` cannot be imported, as on a machine without it."""
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
    """Inside, PyTorch says, as some builds do, that it was built without `torch.distributed`."""
    import torch.distributed

    answer = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        yield
    finally:
        torch.distributed.is_available = answer


def _stand_in_for_models(folder: Path) -> None:
    """Let submodules of `transformers.models` be imported without the list of the names in all of them."""
    if folder.is_dir():
        _stand_in(MODELS, __spec__=find_spec(MODELS), __path__=[str(folder)])
