"""Tensors that lie on a fake GPU, and what every operation on them does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.fake_gpu.seen import MANY_DEVICES, WAIT, place_of_call

if TYPE_CHECKING:
    from tests.fake_gpu.machine import FakeGpu

_READS = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "nonzero_numpy", "masked_select", "bincount",
    "unique_consecutive", "unique_dim", "_unique", "_unique2", "allclose", "_assert_async",
}  # fmt: skip
"""Operators whose result, or its size, the host has to know."""
_PRODUCTS = {"linear", "mm", "addmm", "bmm", "baddbmm", "matmul"}
"""Operators of cuBLAS, which keeps a workspace for each stream."""
_SHAPES_IN_PLACE = {"unsqueeze_", "squeeze_", "t_", "transpose_"}
"""Operators that change a tensor's shape alone: a graph has no kernel for them, and twice would be once too often."""
_MOVES = {"to", "_to_copy"}
_PINS = {"pin_memory", "_pin_memory"}
_CPU = torch.device("cpu")


class Block:
    """Memory of the device, alive as long as a tensor that lies in it."""

    def __init__(self, whole: torch.Tensor, capture: int, place: str) -> None:
        self.whole, self.place = whole, place
        self.capture = capture
        """Number of the capture that allocated it; 0 outside of any."""

    def spoil(self) -> None:
        """Overwrite the memory."""
        kind = self.whole.dtype
        self.whole.fill_(torch.nan if kind.is_floating_point else kind == torch.bool or -7)


class DeviceTensor(torch.Tensor):
    """A tensor on the GPU. C++ takes it for one without values, and hands every operation to `_dispatched`."""

    carried: torch.Tensor
    """The values."""
    block: Block
    gpu: int

    @staticmethod
    def __new__(cls, inner: torch.Tensor, block: Block, gpu: int) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=torch.device("meta"),
        )  # fmt: skip
        made.carried, made.block, made.gpu = inner, block, gpu
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _dispatched(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", self.gpu)

    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"DeviceTensor({self.carried!r}, device='{self.device}')"

    def data_ptr(self) -> int:
        return self.carried.data_ptr()

    def cpu(self, *_: Any) -> torch.Tensor:
        return self.to("cpu")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(self._uploaded(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, (torch.Tensor, list)) for part in parts):
            if not isinstance(value, torch.Tensor):
                value = self.new_full((), value)
            super().__setitem__(self._uploaded(index), value)
        elif isinstance(value, torch.Tensor):
            self[index].copy_(value)
        else:
            self[index].fill_(value)

    def _uploaded(self, index: Any) -> Any:
        """The index with its lists on the device: each is a tensor of the host that is waited for."""
        parts = index if isinstance(index, tuple) else (index,)
        if not any(isinstance(part, list) for part in parts):
            return index
        return tuple(
            torch.as_tensor(part).to(self.device) if isinstance(part, list) else part for part in parts
        )


_machine: FakeGpu | None = None


def enter(machine: FakeGpu) -> None:
    """Operations on the device are those of `machine` from now on."""
    global _machine
    assert _machine is None, "one at a time"
    _machine = machine


def leave() -> None:
    """There is no device any longer."""
    global _machine
    _machine = None


def entered() -> FakeGpu:
    """The machine in use."""
    assert _machine is not None, "no FakeGpu is entered"
    return _machine


class Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what is made on the device without any of its tensors, and copies to it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, for seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatched(func, args, kwargs or {})


class _Operands:
    """The arguments of an operation as the host does it, and what lies among them."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.on_gpu: list[DeviceTensor] = []
        self.on_host: list[torch.Tensor] = []
        self.devices: list[torch.device] = []
        self.args = tuple([self._inner(x) for x in args])
        self.kwargs = {name: self._inner(x) for name, x in kwargs.items()}
        self.upwards = [x for x in self.devices if x.type in ("cuda", "meta")]

    def _inner(self, x: Any) -> Any:
        if isinstance(x, DeviceTensor):
            self.on_gpu.append(x)
            return x.carried
        if isinstance(x, (list, tuple)):
            return type(x)([self._inner(part) for part in x])
        if isinstance(x, torch.device):
            self.devices.append(x)
            return _CPU
        if isinstance(x, torch.Tensor):
            self.on_host.append(x)
        return x


def _dispatched(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do an operation on the tensors inside."""
    operands = _Operands(args, kwargs)
    on_gpu, upwards = operands.on_gpu, operands.upwards
    name = func._schema.name.partition("::")[2]
    if not on_gpu and not upwards:
        return _on_host(func, name, args, kwargs)
    if name == "_has_compatible_shallow_copy_type":  # of a parameter that is moved: it becomes another tensor
        return False
    machine = entered()
    gpus = {x.gpu for x in on_gpu} | {machine.index_of(x) for x in upwards if x.type == "cuda"}
    downwards = bool(operands.devices) and not upwards
    _observe(machine, name, args, kwargs, on_gpu, operands.on_host, downwards=downwards)
    if len(gpus) > 1 and name not in _MOVES and name != "copy_":
        raise RuntimeError(f"{MANY_DEVICES}, but found {sorted(gpus)} ({name})")
    if operands.kwargs.get("pin_memory"):
        operands.kwargs["pin_memory"] = False
    out = func(*operands.args, **operands.kwargs)
    if name in _READS:
        return out
    machine.work += 1
    if downwards:
        return out
    gpu = next((machine.index_of(x) for x in upwards if x.type == "cuda"), on_gpu[0].gpu if on_gpu else 0)
    if name in _PRODUCTS:
        _take_workspace(machine, gpu)
    return _recorded(machine, func, (operands.args, operands.kwargs), on_gpu, out, gpu)


def _on_host(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation without the device; a tensor that is pinned is marked."""
    if name in _PINS:
        pinned = args[0].clone()
        pinned.pinned = True
        return pinned
    if name == "is_pinned":
        return is_pinned(args[0])
    wanted = kwargs.pop("pin_memory", False)
    out = func(*args, **kwargs)
    if wanted:
        out.pinned = True
    return out


def _observe(
    machine: FakeGpu,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    on_gpu: list[DeviceTensor],
    on_host: list[torch.Tensor],
    *,
    downwards: bool,
) -> None:
    """Note waits and transfers; raises `RuntimeError` for tensors that do not lie together."""
    if name in _READS or (name == "repeat_interleave" and _sizes_unknown(args, kwargs)):
        machine.wait(name)
    elif name.startswith(("index", "_index_put")) and isinstance(args[1], (list, tuple)):
        indices = [x for x in args[1] if isinstance(x, torch.Tensor)]
        if any(x.dtype in (torch.bool, torch.uint8) for x in indices):
            machine.wait(f"{name} by a mask")
        for index in indices:
            if not isinstance(index, DeviceTensor):
                machine.upload(f"{name} by an index of the host", index, non_blocking=False)
    elif name == "copy_":
        to, source = args[0], args[1]
        non_blocking = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        if isinstance(to, DeviceTensor) and not isinstance(source, DeviceTensor):
            machine.upload(name, source, non_blocking=non_blocking)
        elif isinstance(source, DeviceTensor) and not isinstance(to, DeviceTensor):
            machine.wait("copy_ to the host")
    elif name in _MOVES and on_host and not on_gpu:
        flags = [x for x in args[1:] if isinstance(x, bool)]
        non_blocking = bool(kwargs.get("non_blocking", flags[0] if flags else False))
        machine.upload(name, on_host[0], non_blocking=non_blocking)
    elif downwards and name in _MOVES:
        machine.wait(f"{name} to the host")
    elif on_gpu and any(x.dim() > 0 for x in on_host):
        raise RuntimeError(f"{MANY_DEVICES}, but found one on cpu ({name})")
    if machine.capture is not None and any(
        isinstance(x, torch._C.Generator) for x in (*args, *kwargs.values())
    ):
        machine.note(WAIT, f"{name} from a generator that no graph knows")


def _sizes_unknown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    repeats = args[1] if len(args) > 1 else args[0]
    return isinstance(repeats, torch.Tensor) and kwargs.get("output_size") is None


def _take_workspace(machine: FakeGpu, gpu: int) -> None:
    stream = machine.current_stream(gpu)
    if not stream.has_workspace:
        stream.has_workspace = True
        machine.workspaces += 1
        if machine.capture is not None and machine.capture.shared is not None:
            machine.capture.shared.workspace = True


class _Results:
    """The results of an operation, brought to the device."""

    def __init__(self, out: Any, on_gpu: list[DeviceTensor], gpu: int) -> None:
        self._on_gpu, self._gpu = on_gpu, gpu
        self.made: list[DeviceTensor] = []
        """Those with memory of their own."""
        self.written: list[tuple[torch.Tensor, bool]] = []
        """All of them on the host, and whether each has memory of its own."""
        self.out = self._placed(out)

    def _placed(self, result: Any) -> Any:
        if isinstance(result, (list, tuple)):
            return type(result)([self._placed(part) for part in result])
        if not isinstance(result, torch.Tensor):
            return result
        beside = next((x for x in self._on_gpu if x.carried is result), None)
        if beside is not None:
            self.written.append((result, False))
            return beside
        memory = _memory(result) if result.numel() else 0
        beside = next((x for x in self._on_gpu if memory and _memory(x.carried) == memory), None)
        self.written.append((result, beside is None))
        if beside is None:
            self.made.append(wrapped(result, self._gpu))
            return self.made[-1]
        with torch._C._InferenceMode(beside.is_inference()):  # a view is of the kind of what it views
            return DeviceTensor(result, beside.block, self._gpu)


def _recorded(
    machine: FakeGpu,
    func: Any,
    inner: tuple[Any, Any],
    on_gpu: list[DeviceTensor],
    out: Any,
    gpu: int,
) -> Any:
    """The result with its tensors on the device; a capture under way takes the operation down."""
    results, capture = _Results(out, on_gpu, gpu), machine.capture
    if (
        capture is not None
        and gpu == capture.stream.device.index
        and (results.made or func._schema.is_mutable or "out" in inner[1])
    ):
        capture.record(func, inner, tuple(results.written), on_gpu, results.made)
    return results.out


def wrapped(inner: torch.Tensor, gpu: int) -> DeviceTensor:
    """`inner` on the device, in memory of its own."""
    capture = entered().capture
    block = Block(inner, 0, "") if capture is None else Block(inner, capture.number, place_of_call())
    return DeviceTensor(inner, block, gpu)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def is_pinned(tensor: torch.Tensor) -> bool:
    """True for a tensor of the host in page-locked memory."""
    return bool(getattr(tensor, "pinned", False))
