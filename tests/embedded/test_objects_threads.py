"""Objects under four threads: no operation is lost, no reference leaks.

Left out is ``borrow`` of objects.bpf.c: the kernel's verifier takes its bpf_refcount_acquire for one that cannot fail, and it does where
another thread has just dropped the last reference.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from bpfcrypto.embedded.engine import EmbeddedEngine

BPF = Path(__file__).parents[1] / "bpf"
FRAME = bytes(64)


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("objects", ("nest", "share", "count", "count_anew", "drop_whole", "keep_context", "fill_table")),
        ("lists", ("in_map", "write_after_push", "share", "in_object", "drop_lists")),
        ("trees", ("add_and_remove", "remove_first", "share", "drop_trees")),
        ("cpumasks", ("pairs", "keep")),
    ],
)
def test_threads(name: str, programs: tuple[str, ...]) -> None:
    """Every program in every thread on one collection, inputs changing under their feet."""
    failures: list[BaseException] = []
    with EmbeddedEngine(cpus=4) as engine:
        collection = engine.load(BPF / f"{name}.bpf.o", programs=programs)

        def work(seed: int) -> None:
            draw = random.Random(seed)
            try:
                for _ in range(60):
                    for variable, values in (("op", 8), ("slot", 4), ("given", 20), ("wanted", 20), ("first", 4)):
                        if variable in collection.variables:
                            collection.variables[variable].value = draw.randrange(values)
                    program = collection.programs[draw.choice(programs)]
                    program.run(b"" if program.type.name == "SYSCALL" else FRAME)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        collection.close()

    assert failures == []
    assert (collection.leaks(), collection.live_objects, collection.live_contexts) == (0, 0, 0)
