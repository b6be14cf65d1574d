"""A process that handles keys, step by step, for a test that looks into its memory from outside.

It says each step on standard output and waits for a line. Its keys come from the kernel's random numbers straight into buffers; it
tells them in disguise, so that the telling leaves none behind.

    python key_holder.py ENGINE WAY OBJECT
"""

from __future__ import annotations

import logging
import sys
import traceback

DISGUISE = 0x5A


def random_key(size: int) -> bytearray:
    key = bytearray(size)
    with open("/dev/urandom", "rb", buffering=0) as source:
        source.readinto(key)
    print("key", bytes(byte ^ DISGUISE for byte in key).hex(), flush=True)
    return key


def step(name: str) -> None:
    print("step", name, flush=True)
    sys.stdin.readline()


def main(engine_name: str, way: str, path: str) -> None:
    from bpfcrypto import BpfCryptoError, CryptoContext
    from bpfcrypto.embedded.engine import EmbeddedEngine
    from bpfcrypto.kernel.engine import KernelEngine

    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    engine = KernelEngine() if engine_name == "kernel" else EmbeddedEngine(jit=way == "machine code", trace=print)
    with engine, engine.load(path) as loaded:
        first, second, third = random_key(16), random_key(32), random_key(16)
        step("keys")
        context = CryptoContext.create(engine, "cbc(aes)", first)
        step("created")
        context.place(loaded.maps["m_array"], 1, "cctx")
        context.rotate(second)
        step("rotated")
        for algorithm, key in (("ctr(aes)", third), ("ecb(aes)", random_key(31))):
            try:
                CryptoContext.create(engine, algorithm, key)
            except BpfCryptoError as error:
                print("said", repr(error), error.hint, vars(error))
                traceback.print_exc()
        print("said", repr(context), context.check_value, flush=True)
        for each in loaded.maps.values():
            print("map", each.name, [value.hex() for _, value in each.items()] if "queue" not in each.name else "")
        for name, variable in loaded.variables.items():
            print("variable", name, variable.bytes.hex())
        for name, each in context._home._collection.maps.items():
            print("map", name, [value.hex() for _, value in each.items()])
        step("refused")
        context.release()
        with CryptoContext.open(engine, loaded.maps["m_array"], 1, "cctx") as found:
            print("said", found.check_value, found.references)
        step("released")
    step("closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
