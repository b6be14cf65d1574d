"""Helpers that the embedded engine does not have: each is refused at load, by name and with a reason."""

from __future__ import annotations

import pytest

from bpfcrypto.abi.helpers import HELPERS as TABLE
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.embedded.helpers import HELPERS
from bpfcrypto.errors import NotSupportedError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.spec import CollectionSpec, ProgramSpec

CALLABLE = [helper for helper in TABLE.values() if helper.types]


def test_every_helper_is_there_or_has_a_reason() -> None:
    """Of those that a program of ours may call, none is merely missing, and none is refused and there."""
    assert [helper.name for helper in CALLABLE if (helper.name in HELPERS) == bool(helper.reason)] == []


def test_no_helper_is_made_up() -> None:
    """Every helper that the engine has is one of the table."""
    assert set(HELPERS) <= {helper.name for helper in CALLABLE}


@pytest.mark.parametrize("helper", [each for each in CALLABLE if each.reason], ids=lambda each: each.name)
def test_refused_by_name(helper: object) -> None:
    """Loading a program with the call fails, whatever its type, and says why."""
    for kind in helper.types:  # type: ignore[attr-defined]
        flags = ProgFlag.SLEEPABLE if kind is ProgType.SYSCALL else ProgFlag(0)
        insns = (Insn(0x85, imm=helper.id), Insn(0xB7), Insn(0x95))  # type: ignore[attr-defined]
        spec = CollectionSpec("test", "GPL", programs={"p": ProgramSpec("p", "", kind, insns, flags=flags)})
        with pytest.raises(NotSupportedError) as caught:
            EmbeddedEngine(verify=False).load(spec)

        assert f"'{helper.name}'" in str(caught.value)  # type: ignore[attr-defined]
        assert helper.reason in str(caught.value)  # type: ignore[attr-defined]
