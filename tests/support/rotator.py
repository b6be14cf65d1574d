"""A process that rotates the context in a pinned map at fixed intervals.

    python rotator.py PIN ALGORITHM SECONDS INTERVAL

Says how many rotations it made, and the longest one in milliseconds.
"""

from __future__ import annotations

import sys
import time


def main(pin: str, algorithm: str, seconds: str, interval: str) -> None:
    from bpfcrypto import CryptoContext
    from bpfcrypto.kernel.engine import KernelEngine

    key = bytearray(16)
    rotations, longest = 0, 0.0
    with KernelEngine() as engine, open("/dev/urandom", "rb", buffering=0) as source:
        source.readinto(key)
        with CryptoContext.create(engine, algorithm, key) as context:
            context.place(engine.open_map(pin), 1, "cctx")
            print("ready", flush=True)
            begin = time.monotonic()
            while (due := begin + rotations * float(interval)) < begin + float(seconds):
                time.sleep(max(0.0, due - time.monotonic()))
                source.readinto(key)
                start = time.perf_counter()
                context.rotate(key)
                longest = max(longest, time.perf_counter() - start)
                rotations += 1
    print(rotations, longest * 1000, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
