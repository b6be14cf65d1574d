"""Values set from Python are what a compiled program reads from each member, and the other way round, on both engines."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bpfcrypto.abi.verdicts import TcAction
from bpfcrypto.btf.types import Enum, Kind
from bpfcrypto.errors import MapTypeError
from bpfcrypto.loader.load import load_spec
from support.packets import sample
from support.parity import Step, play
from support.values import agrees, random_value

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.engine import Engine
    from bpfcrypto.kernel.engine import KernelEngine

OBJECT = Path(__file__).parents[1] / "bpf/layouts.bpf.o"
SPEC = load_spec(OBJECT.read_bytes())
FRAME = sample()["udp4-64"]
U64 = (1 << 64) - 1

MEMBERS = [
    *("b8", "s64", "port", "truth"),
    *(f"inner[{i}].{name}" for i in range(2) for name in ("a", "b[0]", "b[1]", "b[2]")),
    *("low", "high", *(f"bytes[{i}]" for i in range(4))),
    "named.small",
    *(f"named.bits.{name}" for name in ("one", "three", "five", "colour", "wide", "minus", "yes", "plain", "last")),
    *("colour", "side", "huge", *(f"text[{i}]" for i in range(7)), *(f"raw[{i}]" for i in range(5))),
    *("grid[0][0]", "grid[0][1]", "grid[1][0]", "grid[1][1]", "pointer", "either.number"),
    *("packed.odd", "packed.unaligned", "packed.end", "tail"),
]
"""The members of ``struct all`` in the order in which the program goes through them."""


def btf() -> Btf:
    assert SPEC.btf is not None
    return SPEC.btf


def struct(name: str) -> int:
    found = btf().find(name, Kind.STRUCT)
    assert found is not None
    return found


ENUMERATORS = {
    entry.name: entry.value
    for record in (btf()[type_id] for type_id in range(len(btf())))
    if isinstance(record, Enum)
    for entry in record.values
}


def steps_to(path: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.findall(r"\w+", path)]


def at(value: Any, path: str) -> int:
    """The member of a value as the 64-bit number that a program sees."""
    for step in steps_to(path):
        if isinstance(value, str):
            value = value.encode().ljust(7, b"\0")
        value = value[step]
    return int(ENUMERATORS.get(value, value)) & U64


def replaced(value: Any, path: str, member: object) -> Any:
    """A copy of a value with another member."""
    copied = copy.deepcopy(value)
    *way, last = steps_to(path)
    inner = copied
    for step in way:
        inner = inner[step]
    inner[last] = member
    return copied


@pytest.fixture(params=range(12))
def value(request: pytest.FixtureRequest) -> Any:
    """A random ``struct all``."""
    return random_value(btf(), struct("all"), random.Random(request.param))


def test_variables(engine: Engine, value: Any) -> None:
    """A program finds each member of a variable that Python set, and Python each member that the program set."""
    with engine.load(OBJECT, programs=["variables"]) as collection:
        collection.variables["in"].value = value
        given = collection.variables["in"].value
        assert agrees(value, given)

        assert collection.programs["variables"].run(FRAME).retval == TcAction.OK

        assert collection.variables["count"].value == len(MEMBERS)
        assert collection.variables["seen"].value[: len(MEMBERS)] == [at(given, path) for path in MEMBERS]
        assert collection.variables["out"].value == given


def test_maps(engine: Engine, value: Any) -> None:
    """The same of elements: of an array, and of each CPU's own."""
    with engine.load(OBJECT, programs=["maps"]) as collection:
        array, percpu = collection.maps["m_array"].typed, collection.maps["m_percpu"].typed
        array[0] = value
        given = array[0]
        percpu[0] = [given] * len(percpu[0])
        assert collection.programs["maps"].run(FRAME).retval == TcAction.OK

        assert agrees(value, given)
        assert collection.variables["seen"].value[: len(MEMBERS)] == [at(given, path) for path in MEMBERS]
        assert array[1] == given
        assert percpu[0] == [given] * len(percpu[0])


def test_keys(engine: Engine) -> None:
    """A structure is a key, whichever side inserted it, and a value of bit fields is changed bit by bit."""
    with engine.load(OBJECT, programs=["keys"]) as collection:
        run, key, view = collection.programs["keys"].run, collection.variables["key"], collection.maps["m_hash"].typed
        key.value = mine = {"a": 200, "b": [-1, 0, 32767]}
        assert run(FRAME).retval == TcAction.SHOT
        key.value = other = {"a": 1, "b": [-32768, 2, 3]}
        view[other] = {"wide": (1 << 40) - 1, "minus": 0, "yes": True, "colour": "BLUE", "five": -16}
        assert run(FRAME).retval == TcAction.OK
        found = {(each["a"], *each["b"]): value for each, value in view.items()}

    nothing = dict.fromkeys(("one", "three", "five", "wide", "minus", "plain", "last"), 0)
    nothing |= {"colour": "RED", "yes": False}
    assert found == {
        (200, -1, 0, 32767): nothing | {"three": 5, "last": 300},
        (1, -32768, 2, 3): nothing | {"wide": 0, "minus": -1, "colour": "BLUE", "five": -16},
    }
    assert mine in [{"a": a, "b": b} for a, *b in found]


LIMITS = {
    "b8": "'unsigned char' from 0 to 255",
    "s64": f"from {-(1 << 63)} to {(1 << 63) - 1}",
    "port": "from 0 to 65535",
    "truth": "a truth value from 0 to 1",
    "inner[1].b[2]": "from -32768 to 32767",
    "high": "from 0 to 65535",
    "named.small": "from -128 to 127",
    "named.bits.one": "a bit field of 1 bits from 0 to 1",
    "named.bits.five": "a bit field of 5 bits from -16 to 15",
    "named.bits.wide": f"a bit field of 40 bits from 0 to {(1 << 40) - 1}",
    "named.bits.minus": "a bit field of 20 bits from -524288 to 524287",
    "side": "'enum side' from -2147483648 to 2147483647",
    "grid[1][0]": "from -2147483648 to 2147483647",
    "pointer": f"a pointer from 0 to {U64}",
    "packed.unaligned": "from 0 to 4294967295",
}


@pytest.mark.parametrize("path", LIMITS)
def test_errors_name_the_member(embedded_engine: EmbeddedEngine, path: str) -> None:
    """A member that cannot be stored is named with the way to it and its limits, and nothing is changed."""
    value = random_value(btf(), struct("all"), random.Random(path))
    with embedded_engine.load(OBJECT, programs=[]) as collection:
        variable, view = collection.variables["in"], collection.maps["m_array"].typed
        variable.value = value
        whole = variable.value
        for bad in (1 << 64, -(1 << 64), None):
            wrong = replaced(whole, path, bad)
            with pytest.raises(MapTypeError, match=re.escape(f"'in.{path}' takes ")) as in_variable:
                variable.value = wrong
            with pytest.raises(MapTypeError, match=re.escape(f"'value.{path}' takes ")) as in_map:
                view[1] = wrong
            assert LIMITS[path] in str(in_variable.value)
            assert LIMITS[path] in str(in_map.value)

        assert variable.value == whole
        assert collection.maps["m_array"].lookup(b"\1\0\0\0") == bytes(variable.size)


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(8))
def test_both_engines_agree(embedded_engine: EmbeddedEngine, kernel_engine: KernelEngine, seed: int) -> None:
    """Variables, elements and keys are the same bytes on both."""
    draw = random.Random(seed)
    scene = [
        Step(
            draw.choice(("variables", "keys", "keys")),
            FRAME,
            variables={
                "in": random_value(btf(), struct("all"), draw),
                "key": random_value(btf(), struct("inner"), random.Random(draw.randrange(6))),
            },
        )
        for _ in range(12)
    ]

    here, there = play(embedded_engine, OBJECT, scene), play(kernel_engine, OBJECT, scene)

    assert here.differences(there) == []
