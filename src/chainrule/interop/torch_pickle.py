"""The pickle of PyTorch's files, read as data: a machine of ours for its opcodes, in which nothing is imported or called.

Opcodes are those of protocols 2 to 5 (Python's ``pickletools``). Objects are numbers, texts, bytes and containers of them; what
a file asks for by a global name is made by a function that the caller gives for that name, or refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..domain.errors import FileFormatError

MOST_BYTES = 64 << 20  # of a pickle: the tensors are not in it
MOST_STEPS = 3_000_000
MOST_NESTED = 200  # containers inside containers
MARK = object()
CONTAINERS = (dict, list, tuple, set)


class Global(NamedTuple):
    """A class or a function that a file names."""

    name: str


Makers = Mapping[str, Callable[..., Any]]  # by global name: what makes an object of its arguments


class Machine:
    """Runs one pickle in ``data`` from ``at``, and stands after it at the end. Errors: FileFormatError.

    ``makers`` are the globals it knows, ``constants`` those that are values, ``persistent`` makes what the file keeps outside
    of the pickle. ``where`` begins the messages.
    """

    def __init__(
        self,
        data: Any,
        at: int,
        where: str,
        makers: Makers,
        constants: Mapping[str, Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self.data, self.at, self.end = memoryview(data), at, min(len(data), at + MOST_BYTES)
        self.where, self.makers, self.constants, self.persistent = where, makers, constants, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self) -> Any:
        """The object of the pickle."""
        try:
            while (code := self.take(1)[0]) != 0x2E:
                step = STEPS.get(code)
                if step is None:
                    raise self.error(f"has the pickle opcode {code:#04x}, which files of PyTorch have no use for")
                self.count(1)
                step(self)
            value = self.pop()
            if self.stack:
                raise ValueError("more than one object")
        except FileFormatError:
            raise
        except (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
            raise self.error(f"is damaged: its pickle makes no sense ({type(error).__name__})") from error
        plain(value, self.where)
        return value

    def count(self, steps: int) -> None:
        """Note what is done. Errors: FileFormatError if it is too much."""
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise self.error(f"has a pickle of more than {MOST_STEPS} steps, which no state of a model needs")

    def error(self, what: str) -> FileFormatError:
        """The error of a file."""
        return FileFormatError(f"{self.where} {what} (at byte {self.at} of the pickle)")

    # ---- reading

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.at + count
        if count < 0 or end > self.end:
            large = self.end < len(self.data)
            raise self.error(
                f"has a pickle of more than {MOST_BYTES} bytes" if large else "is cut short: its pickle ends"
            )
        found = bytes(self.data[self.at : end])
        self.at = end
        return found

    def number(self, form: str) -> Any:
        """A number, as ``struct`` names it."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """A text up to the end of a line, as names of globals are."""
        found = bytes(self.data[self.at : min(self.end, self.at + 1000)])
        end = found.find(b"\n")
        if end < 0:
            raise self.error("is damaged: a name in its pickle has no end")
        self.at += end + 1
        return found[:end].decode()

    # ---- the stack

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take a value from the stack."""
        value = self.stack.pop()
        if value is MARK:
            raise ValueError("a mark is no value")
        return value

    def marked(self) -> list[Any]:
        """Take all from the stack that lies above the last mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise ValueError("there is no mark")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def top(self, kind: type) -> Any:
        """The value on the stack, which is to be changed."""
        value = self.stack[-1]
        if type(value) is not kind:
            raise ValueError(f"not a {kind.__name__}")
        return value

    # ---- steps

    def named(self, name: str) -> None:
        """Push what a global name stands for."""
        if name in self.constants:
            return self.push(self.constants[name])
        if name not in self.makers:
            raise self.refused(name)
        return self.push(Global(name))

    def refused(self, name: str) -> FileFormatError:
        """The error of a global that is not made."""
        return self.error(
            f"asks for {name[:200]!r}, which is not made of a file: a pickle may hold any program. Tensors, numbers, texts and "
            "containers of them are read; save these alone, as torch.save(model.state_dict(), path) does"
        )

    def reduce(self) -> None:
        """Make an object by a global name and arguments."""
        arguments, maker = self.pop(), self.pop()
        if type(maker) is not Global or type(arguments) is not tuple:
            raise ValueError("nothing to call")
        copied = sum(len(a) if type(a) in CONTAINERS else len(a) // 100 for a in arguments if hasattr(a, "__len__"))
        self.count(copied)
        try:
            value = self.makers[maker.name](*arguments)
        except FileFormatError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise self.error(f"is damaged: what it gives to {maker.name} makes no sense") from error
        self.push(value)

    def build(self) -> None:
        """Give an object its state: dicts have notes of PyTorch there, which nothing needs."""
        self.pop()
        self.top(dict)

    def append(self, values: list[Any]) -> None:
        """Put values into the list or the set on the stack."""
        if type(self.stack[-1]) is set:
            self.stack[-1].update(self.key(v) for v in values)
        else:
            self.top(list).extend(values)

    def fill(self, values: list[Any]) -> None:
        """Put keys and values into the dict on the stack."""
        filled(self.top(dict), values[0::2], values[1::2], self)

    def key(self, value: Any) -> Any:
        """A value that can be a key: its hash is found at once, and not made to meet others."""
        kinds = (str, bytes, int, float, bool, type(None))
        within = value if type(value) is tuple else (value,)
        if len(within) > 16 or any(type(v) not in kinds or (type(v) is int and v.bit_length() > 64) for v in within):
            raise self.error(f"has a {type(value).__name__} as a key; a short text or number is expected")
        return value

    def memoize(self, at: int) -> None:
        """Remember the value on the stack."""
        value = self.stack[-1]
        if value is MARK:
            raise ValueError("a mark is no value")
        self.memo[at] = value

    def persist(self) -> None:
        """Push what is kept outside of the pickle."""
        self.push(self.persistent(self.pop()))


def filled(target: dict[Any, Any], keys: list[Any], values: list[Any], machine: Machine) -> dict[Any, Any]:
    """A dict with further keys, each of them once."""
    for key, value in zip(keys, values, strict=True):
        if machine.key(key) in target:
            raise machine.error(f"is damaged: the key {str(key)[:100]!r} comes twice")
        target[key] = value
    return target


def plain(value: Any, where: str) -> None:
    """Raise FileFormatError unless a value is a tree of containers, not too deep, and not too large where parts come again."""
    heights: dict[int, int] = {}
    sizes: dict[int, int] = {}
    stack: list[tuple[Any, bool]] = [(value, False)]
    while stack:
        found, seen = stack.pop()
        if isinstance(found, Global):
            raise FileFormatError(f"{where} has {found.name} itself as a value; tensors, numbers and texts are read")
        if type(found) not in CONTAINERS:
            continue
        inside = [*found.values()] if type(found) is dict else [] if type(found) is set else found
        if seen:
            within = [id(v) for v in inside if type(v) in CONTAINERS]
            heights[id(found)] = 1 + max((heights[v] for v in within), default=0)
            sizes[id(found)] = 1 + len(inside) + sum(sizes[v] for v in within)
            if heights[id(found)] > MOST_NESTED:
                raise FileFormatError(f"{where} has containers nested more than {MOST_NESTED} deep")
            if sizes[id(found)] > 2 * MOST_STEPS:
                raise FileFormatError(
                    f"{where} has containers that come again and again, {sizes[id(found)]} values in all"
                )
        elif id(found) not in heights:
            heights[id(found)] = -1  # it is being looked into
            stack.append((found, True))
            stack.extend((v, False) for v in inside)
        elif heights[id(found)] < 0:
            raise FileFormatError(f"{where} has a {type(found).__name__} that contains itself")


def _proto(m: Machine) -> None:
    if m.take(1)[0] > 5:
        raise m.error("has a pickle of a protocol later than 5")


def _text(form: str) -> Callable[[Machine], None]:
    return lambda m: m.push(m.take(m.number(form)).decode("utf-8", "surrogatepass"))


def _bytes(form: str) -> Callable[[Machine], None]:
    return lambda m: m.push(m.take(m.number(form)))


def _integer(form: str) -> Callable[[Machine], None]:
    return lambda m: m.push(int.from_bytes(m.take(m.number(form)), "little", signed=True))


def _tuple(count: int) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        m.push(tuple([m.pop() for _ in range(count)][::-1]))

    return step


def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.fill([key, value])


def _dict(m: Machine) -> None:
    found = m.marked()
    m.push(filled({}, found[0::2], found[1::2], m))


def _stack_global(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("no names")
    m.named(f"{module}.{name}")


def _newobj(m: Machine) -> None:
    _, made = m.pop(), m.pop()
    raise m.refused(made.name if isinstance(made, Global) else type(made).__name__)


STEPS: dict[int, Callable[[Machine], Any]] = {
    0x80: _proto,
    0x95: lambda m: m.take(8),  # the length of a frame
    ord("("): lambda m: m.push(MARK),
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.marked(),
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: _integer("<B"),
    0x8B: _integer("<i"),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("X"): _text("<I"),
    0x8C: _text("<B"),
    0x8D: _text("<Q"),
    ord("T"): _text("<i"),
    ord("U"): _text("<B"),
    ord("B"): _bytes("<I"),
    ord("C"): _bytes("<B"),
    0x8E: _bytes("<Q"),
    ord(")"): lambda m: m.push(()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): lambda m: m.push(tuple(m.marked())),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.marked()),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.marked()),
    ord("}"): lambda m: m.push({}),
    ord("d"): _dict,
    ord("s"): _setitem,
    ord("u"): lambda m: m.fill(m.marked()),
    0x8F: lambda m: m.push(set()),
    0x90: lambda m: m.append(m.marked()),
    ord("c"): lambda m: m.named(f"{m.line()}.{m.line()}"),
    0x93: _stack_global,
    ord("R"): lambda m: m.reduce(),
    0x81: _newobj,
    ord("b"): lambda m: m.build(),
    ord("q"): lambda m: m.memoize(m.number("<B")),
    ord("r"): lambda m: m.memoize(m.number("<I")),
    0x94: lambda m: m.memoize(len(m.memo)),
    ord("h"): lambda m: m.push(m.memo[m.number("<B")]),
    ord("j"): lambda m: m.push(m.memo[m.number("<I")]),
    ord("Q"): lambda m: m.persist(),
}


# ---- writing


class Raw(bytes):
    """What stands in a pickle as it is."""


def dumped(value: Any, other: Callable[[str, Any], Any]) -> bytes:
    """A pickle of protocol 2. ``other`` is given the place of a value that cannot be in it, and the value; it makes one."""
    return b"\x80\x02" + _dump(value, other, "") + b"."


def _dump(value: Any, other: Callable[[str, Any], Any], path: str) -> bytes:
    if value is None or type(value) is bool:
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if type(value) is Raw:
        return value
    if type(value) is int and value.bit_length() < 2000:
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        text = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(text)]) + text
    if type(value) is float:
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(text)) + text
    if type(value) is bytes:
        return called("_codecs.encode", value.decode("latin-1"), "latin1")
    if isinstance(value, Mapping):
        pairs = [_dump(k, other, path) + _dump(v, other, f"{path}[{k!r}]") for k, v in value.items()]
        return b"}(" + b"".join(pairs) + b"u"
    if type(value) in (list, tuple):
        inside = b"".join(_dump(v, other, f"{path}[{i}]") for i, v in enumerate(value))
        return b"](" + inside + b"e" if type(value) is list else b"(" + inside + b"t"
    return _dump(other(path, value), other, path)


def called(name: str, *arguments: Any) -> Raw:
    """A call, by the global name, with arguments that need no help."""
    return Raw(named(name) + _dump(arguments, refuse, "") + b"R")


def named(name: str) -> Raw:
    """What a global name stands for."""
    module, _, own = name.rpartition(".")
    return Raw(f"c{module}\n{own}\n".encode())


def persistent(found: tuple[Any, ...]) -> Raw:
    """What is kept outside of the pickle, of which it has ``found``."""
    return Raw(_dump(found, refuse, "") + b"Q")


def refuse(path: str, value: Any) -> Any:
    """For values of which nothing can be made."""
    raise TypeError(type(value).__name__)
