"""IR of ECB and CBC in bulk, for memory that does not overlap in a way that could be seen.

All loads of a step come before its stores, and steps go upwards; so the destination may be the source, and in ECB and in CBC
encryption also anywhere below it.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfcrypto.embedded.jit.aes_code import BLOCK, Function, Rounds, vector
from bpfcrypto.embedded.jit.aes_targets import Target


def ecb(target: Target, direction: str) -> str:
    """``i32 aes_ecb_encrypt(ptr ctx, ptr src, ptr dst, i64 blocks)``, or ``aes_ecb_decrypt``."""
    f = Function(f"define i32 @aes_ecb_{direction}(ptr %ctx, ptr %src, ptr %dst, i64 %blocks)", target)
    rounds = Rounds(f, direction)

    def step(at: str, blocks: int, vectors: int, carry: str) -> str:
        places = [f.value(f"add i64 {at}, {16 * blocks * i}") for i in range(vectors)]
        states = [rounds.enter(f.load(f.at("%src", place), blocks), blocks) for place in places]
        states = rounds.inner(states, blocks)
        key = rounds.last_key(blocks)
        for state, place in zip(states, places, strict=True):
            f.store(rounds.leave(state, key, blocks), f.at("%dst", place), blocks)
        return carry

    _steps(f, step, "zeroinitializer")
    f.do("ret i32 0")
    return str(f)


def cbc_decrypt(target: Target) -> str:
    """``i32 aes_cbc_decrypt(ptr ctx, ptr src, ptr dst, ptr iv, i64 blocks)``."""
    f = Function("define i32 @aes_cbc_decrypt(ptr %ctx, ptr %src, ptr %dst, ptr %iv, i64 %blocks)", target)
    rounds = Rounds(f, "decrypt")

    def step(at: str, blocks: int, vectors: int, carry: str) -> str:
        places = [f.value(f"add i64 {at}, {16 * blocks * i}") for i in range(vectors)]
        ciphers = [f.load(f.at("%src", place), blocks) for place in places]
        states = rounds.inner([rounds.enter(cipher, blocks) for cipher in ciphers], blocks)
        key = rounds.last_key(blocks)
        before = _as_top(f, carry, blocks)
        for state, cipher, place in zip(states, ciphers, places, strict=True):
            previous = _after(f, before, cipher, blocks)
            state = rounds.leave(state, f.xor(key, previous, blocks), blocks)
            f.store(state, f.at("%dst", place), blocks)
            before = cipher
        return _top(f, before, blocks)

    carry = _steps(f, step, f.load("%iv"))
    f.store(carry, "%iv")
    f.do("ret i32 0")
    return str(f)


def cbc_decrypt_block(target: Target) -> str:
    """One block of it, for which the wide registers and the choice of a step would cost as much as the rounds."""
    f = Function("define internal i32 @block_cbc_decrypt(ptr %ctx, ptr %src, ptr %dst, ptr %iv) noinline", target)
    rounds = Rounds(f, "decrypt")
    cipher = f.load("%src")
    (state,) = rounds.inner([rounds.enter(cipher)])
    f.store(rounds.leave(state, f.xor(rounds.last_key(), f.load("%iv"))), "%dst")
    f.store(cipher, "%iv")
    f.do("ret i32 0")
    return str(f)


def cbc_encrypt(target: Target) -> str:
    """``i32 aes_cbc_encrypt(ptr ctx, ptr src, ptr dst, ptr iv, i64 blocks)``.

    Each block waits for the one before. So that nothing but rounds is in that chain, the next block's plaintext and first key are
    XORed into the key of the last round: what comes out is the next block's state, and one XOR beside the chain makes the ciphertext of it.
    """
    f = Function("define i32 @aes_cbc_encrypt(ptr %ctx, ptr %src, ptr %dst, ptr %iv, i64 %blocks)", target)
    rounds = Rounds(f, "encrypt")
    last = rounds.last_key()
    f.branch(f.value("icmp eq i64 %blocks, 0"), "done", "start")

    f.begin("start")
    begin = f.xor(rounds.enter(f.load("%src")), f.load("%iv"))
    end = f.value("shl i64 %blocks, 4")
    f.jump("block")

    f.begin("block")
    at = f.phi("i64", "0", "start")
    state = f.phi(BLOCK, begin, "start")
    (inner,) = rounds.inner([state])
    following = f.value(f"add i64 {at}, 16")
    place = f.at("%dst", at)
    f.branch(f.value(f"icmp ult i64 {following}, {end}"), "chain", "finish")

    f.begin("chain")
    entering = rounds.enter(f.load(f.at("%src", following)))
    mixed = rounds.leave(inner, f.xor(entering, last))
    f.store(f.xor(mixed, entering), place)
    f.feed(at, following, "chain")
    f.feed(state, mixed, "chain")
    f.jump("block")

    f.begin("finish")
    cipher = rounds.leave(inner, last)
    f.store(cipher, place)
    f.store(cipher, "%iv")
    f.jump("done")
    f.begin("done")
    f.do("ret i32 0")
    return str(f)


def _steps(f: Function, step: Callable[[str, int, int, str], str], carry: str) -> str:
    """Cut ``%blocks`` blocks into the target's steps; gives what the last one carries out.

    Args:
        f: the function, at the end of a block.
        step: emits one step from (value of the offset in bytes, blocks in a vector, vectors, carried block) and gives the block to carry.
        carry: the block that goes into the first step.
    """
    at, left, label, head = "0", "%blocks", f.here, f.label("head")
    f.jump(head)
    for blocks, vectors in f.target.steps:
        f.begin(head)
        at, left = f.phi("i64", at, label), f.phi("i64", left, label)
        carry = f.phi(BLOCK, carry, label)
        size, label, body, after = blocks * vectors, head, f.label("step"), f.label("head")
        f.branch(f.value(f"icmp uge i64 {left}, {size}"), body, after)
        f.begin(body)
        carried = step(at, blocks, vectors, carry)
        f.feed(at, f.value(f"add i64 {at}, {16 * size}"), f.here)
        f.feed(left, f.value(f"sub i64 {left}, {size}"), f.here)
        f.feed(carry, carried, f.here)
        f.jump(head)
        head = after
    f.begin(head)
    return carry


def _after(f: Function, before: str, now: str, blocks: int) -> str:
    """The vector that lies one block before ``now`` in memory, ``before`` being the whole vector before it."""
    if blocks == 1:
        return before
    size = 2 * blocks
    mask = ", ".join(f"i32 {i}" for i in range(size - 2, 2 * size - 2))
    kind = vector(blocks)
    return f.value(f"shufflevector {kind} {before}, {kind} {now}, <{size} x i32> <{mask}>")


def _as_top(f: Function, block: str, blocks: int) -> str:
    """A vector whose last block is the given one."""
    if blocks == 1:
        return block
    mask = ", ".join(["i32 poison"] * (2 * blocks - 2) + ["i32 0", "i32 1"])
    return f.value(f"shufflevector {BLOCK} {block}, {BLOCK} poison, <{2 * blocks} x i32> <{mask}>")


def _top(f: Function, state: str, blocks: int) -> str:
    """The last block of a vector."""
    if blocks == 1:
        return state
    kind = vector(blocks)
    mask = f"i32 {2 * blocks - 2}, i32 {2 * blocks - 1}"
    return f.value(f"shufflevector {kind} {state}, {kind} poison, <2 x i32> <{mask}>")
