"""Runs on machine code: what they leave behind, and what they share."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

from bpfcrypto.embedded.jit.runs import Runs
from bpfcrypto.embedded.memory import Memory
from bpfcrypto.embedded.state import RunState
from bpfcrypto.loader.load import load_spec

OBJECT = Path(__file__).parents[2] / "bpf" / "natives.bpf.o"


def test_a_lock_left_behind_is_given_back() -> None:
    """A run that Python ended while machine code held a spin lock does not keep others from it."""
    word, runs = ctypes.c_uint32(1), Runs()
    program = load_spec(OBJECT.read_bytes(), OBJECT.name).programs["chance"]
    running = runs.start(0, RunState(Memory(), program))
    running.record.lock = ctypes.addressof(word)
    runs.end(running)
    assert word.value == 0
    assert runs.by_address == {}


def test_random_states() -> None:
    """Runs on one CPU go on with one state; another CPU has its own."""
    runs = Runs()
    state = RunState(Memory(), load_spec(OBJECT.read_bytes(), OBJECT.name).programs["chance"])
    first, second = runs.start(0, state), runs.start(0, state)
    other = runs.start(1, replace(state, cpu=1))
    assert first.record.random == second.record.random != other.record.random
