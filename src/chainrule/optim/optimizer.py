"""Optimizer: groups of parameters, the state of each by its name, and a step for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

from ..creation import zeros, zeros_like
from ..domain.errors import ArgumentError, ArgumentTypeError, NotBuiltError, StateError, unknown
from ..modes import cast_mode, listening, modes, no_grad, revisions
from ..ops.elementwise import sign
from ..tensor import Tensor


class Penalty(TypedDict, total=False):
    """What every optimizer with a ``weight_decay`` takes beside it (see Optimizer)."""

    decoupled: bool
    l1: float
    exempt: bool
    maximize: bool


class Entry:
    """A parameter with its name and its state, empty before its first step."""

    __slots__ = ("name", "param", "state")

    def __init__(self, name: str, param: Tensor) -> None:
        self.name, self.param = name, param
        self.state: dict[str, Tensor] = {}


class Group:
    """Parameters with the same options: ``group["lr"]``, ``group["params"]``, ``group["weight_decay"]``, …

    The learning rate is a tensor, ``rate``, that setting ``group["lr"]`` writes to: a recorded step sees it change.
    """

    def __init__(self, entries: list[Entry], options: dict[str, Any]) -> None:
        self.entries = entries
        self.options = {k: v for k, v in options.items() if k != "lr"}
        self.rate = Tensor(checked_lr(options["lr"]), dtype="float64", device=entries[0].param.device)

    def __getitem__(self, key: str) -> Any:
        if key == "lr":
            return self.rate.item()
        if key == "params":
            return [entry.param for entry in self.entries]
        return self.options[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "lr":
            with no_grad():
                self.rate.fill_(checked_lr(value))
        elif key in self.options:
            self.options[key] = value
            revisions[0] += 1
        else:
            raise unknown("option of the group", key, ["lr", *self.options])

    def follow(self) -> None:
        """Go where the parameters went since the last step, with what is known of them."""
        device = self.entries[0].param.device
        if self.rate.device == device:
            return
        moved: dict[int, Tensor] = {}  # counts of steps are shared
        with no_grad():
            self.rate = self.rate.to(device)
            for entry in self.entries:
                for key, value in entry.state.items():
                    place = entry.param.device
                    entry.state[key] = moved.setdefault(id(value), value if value.device == place else value.to(place))
        revisions[0] += 1

    def __repr__(self) -> str:
        off = [k for k in ("decoupled", "l1", "maximize") if not self.options.get(k)]
        options = ", ".join(f"{k}={v!r}" for k, v in {"lr": self["lr"], **self.options}.items() if k not in off)
        return f"Group({len(self.entries)} parameters, {options})"


class Optimizer:
    """Changes parameters by their gradients.

    ``params`` is ``model.parameters()``, tensors, pairs of a name and a tensor, or a list of groups:
    ``[{"params": ..., "lr": 0.1}, ...]``, each with options of its own. Parameters that wait for their size are taken;
    a step before that is a NotBuiltError. A parameter without a gradient is left as it is. State is kept by name.
    A subclass says in ``update`` what a step does to parameters of one group.

    Penalties are options of all that have a ``weight_decay``. It adds ``weight_decay · p`` to the gradient, or with
    ``decoupled`` shrinks the parameter by ``lr · weight_decay`` of itself before the step. ``l1`` adds ``l1 · sign(p)`` to
    the gradient; both together are the elastic net. ``exempt`` leaves parameters of fewer than two axes (biases, the scales
    and shifts of norms) without any: they become a group of their own. Beside them ``maximize`` makes the loss large: the
    gradient counts with the other sign, penalties as ever.
    """

    uses_closure = False  # whether ``step`` calls for the loss and its gradients itself, with a function it is given
    decoupled = False  # the default
    penalties: tuple[str, ...] = ("decoupled", "l1", "exempt", "maximize")  # beside weight_decay
    numbers: tuple[str, ...] = ("step",)  # states without axes

    def __init__(self, params: Any, defaults: Mapping[str, Any], penalty: Penalty | None = None) -> None:
        every = {"decoupled": self.decoupled, "l1": 0.0, "exempt": False, "maximize": False}
        penalties = {key: every[key] for key in self.penalties if "weight_decay" in defaults}
        for key in penalty or {}:
            if key not in penalties:
                raise unknown(f"option of {self._name}", key, [*defaults, *penalties])
        self.defaults = {**defaults, **penalties, **(penalty or {})}
        self.param_groups: list[Group] = []
        if isinstance(params, Tensor) or not hasattr(params, "__iter__"):
            what = "" if isinstance(params, Tensor) else f" first, not a {type(params).__name__}"
            raise ArgumentTypeError(f"{self._name} takes several parameters{what}: [x], or model.parameters()")
        given: Any = params if hasattr(params, "items") else [*params]
        if isinstance(given, list) and given and all(isinstance(x, Mapping) for x in given):
            groups = given
        else:
            groups = [given if isinstance(given, Mapping) else {"params": given}]
        for group in groups:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take further parameters, with options of their own: ``{"params": ..., "lr": 0.01}``."""
        options = {k: v for k, v in group.items() if k != "params"}
        for key in options:
            if key not in self.defaults:
                raise unknown(f"option of {self._name}", key, self.defaults)
        if "params" not in group:
            raise ArgumentError(f"{self._name}: a group has no params: {dict(group)!r}")
        options = {**self.defaults, **options}
        exempt = options.pop("exempt", False)
        self.check(options)
        taken = {entry.name for g in self.param_groups for entry in g.entries}
        known = {id(entry.param) for g in self.param_groups for entry in g.entries}
        entries: list[Entry] = []
        for name, param in named(group["params"]):
            if not isinstance(param, Tensor) or not param.is_leaf or not param.is_floating:
                raise ArgumentTypeError(
                    f"{self._name}: {name or 'a parameter'} is {type(param).__name__}, expected a floating tensor that was "
                    "not computed from others"
                )
            if id(param) in known:
                raise ArgumentError(f"{self._name}: the parameter {name!r} comes twice")
            known.add(id(param))
            entries.append(Entry(free_name(name, taken), param))
            taken.add(entries[-1].name)
        if not entries:
            raise ArgumentError(f"{self._name} got no parameters")
        spared = [e for e in entries if exempt and e.param.ndim < 2]
        others = [e for e in entries if e not in spared]
        revisions[0] += 1
        for members, changes in ((others, {}), (spared, {"weight_decay": 0.0, "l1": 0.0})):
            if members:
                self.param_groups.append(Group(members, {**options, **changes}))

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise if the options of a group make no sense."""
        for key in ("weight_decay", "l1", "eps"):
            if not options.get(key, 0.0) >= 0:
                raise ArgumentError(f"{self._name}: {key} is {options[key]!r}, expected 0 or more")
        betas = options.get("betas", (0.0, 0.0))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError(f"{self._name}: betas are {betas!r}, expected two numbers from 0 to below 1")

    def tensors(self, group: Group, entries: list[Entry], *states: str) -> list[Any]:
        """What the ops of a step take: parameters, gradients, and states by their names."""
        gradients: list[Any] = [e.param.grad for e in entries]
        if group.options.get("l1"):
            gradients = [gradient(group, e) for e in entries]
        return [e.param for e in entries] + gradients + [e.state[name] for name in states for e in entries]

    def begin(self, group: Group, entries: list[Entry], *states: str, step: bool = False) -> None:
        """Give those that lack them their states: zeros, and with ``step`` a count of steps."""
        fresh = [e for e in entries if not e.state] if step else []
        if fresh:
            count = zeros(dtype="float64", device=group.rate.device)
            for entry in fresh:
                entry.state["step"] = count
        for entry in entries:
            for name in states:
                if name not in entry.state:  # an option may have been set since the first step
                    entry.state[name] = zeros_like(entry.param)

    def decay(self, group: Group, entries: list[Entry]) -> float:
        """The weight decay that is still to be added to the gradients; a decoupled one is done."""
        weight_decay: float = group.options.get("weight_decay", 0.0)
        if weight_decay and group.options["decoupled"]:
            for entry in entries:
                entry.param.mul_((1 - group.rate * weight_decay).to(entry.param.dtype))
            return 0.0
        return weight_decay

    def update(self, group: Group, entries: list[Entry]) -> None:
        """Do a step for ``entries``, which have gradients."""
        raise NotImplementedError(f"{self._name} needs an update(self, group, entries)")

    def step(self) -> None:
        """Change every parameter that has a gradient. Reads nothing back from the device."""
        if listening and modes.recorder is not None:
            modes.recorder.works(self)
        with no_grad(), cast_mode(None):
            for group in self.param_groups:
                group.follow()
                entries = [*with_gradient(group.entries)]
                if entries:
                    self.uphill(group, entries) if group.options.get("maximize") else self.update(group, entries)

    def uphill(self, group: Group, entries: list[Entry]) -> None:
        """``update`` by the gradients with the other sign, which they have back afterwards."""
        gradients = [e.param.grad for e in entries]
        for entry, gradient in zip(entries, gradients, strict=True):
            entry.param.grad = None if gradient is None else -gradient
        self.update(group, entries)
        for entry, gradient in zip(entries, gradients, strict=True):
            entry.param.grad = gradient

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or make them zeros."""
        for group in self.param_groups:
            for entry in group.entries:
                if set_to_none:
                    if entry.param.edge is not None:
                        entry.param.grad = None
                elif (gradient := entry.param.grad) is not None:
                    with no_grad():
                        gradient.zero_()

    @property
    def lr(self) -> float:
        """The learning rate of the first group. Setting it sets that of every group."""
        rate: float = self.param_groups[0]["lr"]
        return rate

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {name: {what: tensor}}, "param_groups": [{option: value, "params": [name, ...]}]}``.

        The tensors are those that the optimizer changes.
        """
        state = {e.name: dict(e.state) for g in self.param_groups for e in g.entries if e.state}
        groups = [{"lr": g["lr"], **g.options, "params": [e.name for e in g.entries]} for g in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave (tensors or arrays): the next steps are the same to the bit.

        Errors: StateError, and nothing is loaded, if the groups, names or shapes are not those of this optimizer.
        """
        groups, values = state["param_groups"], state["state"]
        problems = self._misfits(groups, values)
        if problems:
            raise StateError("\n  ".join([f"the state does not fit into {self._name}:", *problems]))
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.follow()
            for key, value in saved.items():
                if key != "params":
                    group[key] = tuple(value) if isinstance(value, list) else value
            steps: dict[float, Tensor] = {}  # parameters that were stepped as often go on together
            for entry in group.entries:
                entry.state = {}
                for key, value in values.get(entry.name, {}).items():
                    like = group.rate if key in self.numbers else entry.param
                    tensor = Tensor(value, dtype=like.dtype, device=like.device)
                    entry.state[key] = steps.setdefault(tensor.item(), tensor) if key == "step" else tensor

    def _misfits(self, groups: Any, values: Mapping[str, Any]) -> list[str]:
        """What of a state does not fit."""
        if len(groups) != len(self.param_groups):
            return [f"{len(groups)} groups in the state, {len(self.param_groups)} here"]
        problems = []
        for i, (group, saved) in enumerate(zip(self.param_groups, groups, strict=True)):
            here, there = [e.name for e in group.entries], saved["params"]
            missing, unexpected = [n for n in here if n not in there], [n for n in there if n not in here]
            problems += [f"group {i} lacks: {', '.join(missing)}"] * bool(missing)
            problems += [f"group {i} has too many: {', '.join(unexpected)}"] * bool(unexpected)
            problems += [f"group {i} has the option {k!r}" for k in saved if k not in ("lr", "params", *group.options)]
            for entry in group.entries:
                sizes = getattr(entry.param, "sizes", entry.param.array.shape if is_built(entry.param) else ())
                for key, value in values.get(entry.name, {}).items():
                    if key not in self.numbers and not fits(value.shape, sizes):
                        problems.append(f"{key} of {entry.name}: {tuple(value.shape)} in the state, {sizes} here")
        return problems

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(repr(group) for group in self.param_groups)})"


def with_gradient(entries: list[Entry]) -> Iterator[Entry]:
    """Those that have a gradient. Errors: NotBuiltError for one that cannot have one yet."""
    for entry in entries:
        if entry.param.grad is not None:
            yield entry
        elif not is_built(entry.param):
            raise NotBuiltError(
                f"the parameter {entry.name!r} has no shape yet: the optimizer was stepped before the model saw its first "
                "input; call the model on a batch and backward() first, or model.build(input_shape)"
            )


def gradient(group: Group, entry: Entry) -> Any:
    """The gradient of a parameter, with that of its L1 penalty."""
    l1 = group.options.get("l1")
    return entry.param.grad + l1 * sign(entry.param) if l1 else entry.param.grad


def together(group: Group, entries: list[Entry]) -> Iterator[tuple[Tensor, list[Entry]]]:
    """``entries`` by their count of steps, which is one tensor for all that were stepped as often.

    Where some are left out this time, those that are not get a count of their own.
    """
    counts: dict[int, list[Entry]] = {}
    for entry in entries:
        counts.setdefault(id(entry.state["step"]), []).append(entry)
    for members in counts.values():
        step = members[0].state["step"]
        if len(entries) < len(group.entries) and len(members) < sum(e.state.get("step") is step for e in group.entries):
            step = step.clone()
            for entry in members:
                entry.state["step"] = step
        yield step, members


def is_built(param: Tensor) -> bool:
    """Whether its shape is known."""
    return getattr(param, "is_built", True)


def fits(shape: Any, sizes: Any) -> bool:
    """Whether a state of ``shape`` belongs to a parameter of ``sizes``, of which some may not be known."""
    return len(shape) == len(sizes) and all(m in (None, n) for n, m in zip(shape, sizes, strict=True))


def named(params: Any) -> Iterable[tuple[str, Any]]:
    """Parameters with names: those of the model, or those that the parameters have."""
    if hasattr(params, "items"):
        pairs: Iterable[tuple[str, Any]] = params.items()
        return pairs
    given = [params] if isinstance(params, Tensor) else [*params]
    return [x if isinstance(x, tuple) else (getattr(x, "name", ""), x) for x in given]


def free_name(name: str, taken: set[str]) -> str:
    """``name``, or with a number if it is empty or taken."""
    if name and name not in taken:
        return name
    stem, number = name or "parameter", 0
    while f"{stem}.{number}" in taken:
        number += 1
    return f"{stem}.{number}"


def checked_lr(lr: Any) -> float:
    """A learning rate as a number. Errors: ArgumentError unless it is 0 or more."""
    value = float(lr)
    if not 0 <= value < float("inf"):
        raise ArgumentError(f"the learning rate is {lr!r}, expected a number of at least 0")
    return value
