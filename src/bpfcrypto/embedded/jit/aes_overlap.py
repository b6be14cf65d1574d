"""IR of ECB and CBC where source, destination and IV overlap: block by block on live memory, in the kernel's order.

The order is that of :mod:`bpfcrypto.crypto.skcipher`, load by load and store by store. Pointers carry no promise about aliases, so no pass may
change what comes out.
"""

from __future__ import annotations

from bpfcrypto.embedded.jit.aes_code import Function, Rounds
from bpfcrypto.embedded.jit.aes_targets import Target

_WORDS = (0, 8)
_COLD = "noinline optnone"  # seldom run and never with a key in a register: not worth the time of optimising


def parts(target: Target) -> str:
    """One block through the cipher, each direction; the XOR and the copy of a block in memory."""
    return "\n".join(
        [*(_block(target, direction) for direction in ("encrypt", "decrypt")), _xor(target), _copy(target)]
    )


def _block(target: Target, direction: str) -> str:
    """``dst = AES(src)`` for one block; gives 0."""
    f = Function(f"define internal i32 @block_{direction}(ptr %ctx, ptr %src, ptr %dst) noinline", target)
    rounds = Rounds(f, direction)
    states = rounds.inner([rounds.enter(f.load("%src"))])
    f.store(rounds.leave(states[0], rounds.last_key()), "%dst")
    f.do("ret i32 0")
    return str(f)


def _xor(target: Target) -> str:
    """``to ^= from``: two words, the second one loaded after the first was stored."""
    f = Function(f"define internal void @block_xor(ptr %to, ptr %from) {_COLD}", target)
    for offset in _WORDS:
        to, source = f.at("%to", offset), f.at("%from", offset)
        left = f.value(f"load i64, ptr {to}, align 1")
        right = f.value(f"load i64, ptr {source}, align 1")
        f.do(f"store i64 {f.value(f'xor i64 {left}, {right}')}, ptr {to}, align 1")
    f.do("ret void")
    return str(f)


def _copy(target: Target) -> str:
    """Sixteen bytes, one after the other, upwards."""
    f = Function(f"define internal void @block_copy(ptr %to, ptr %from) {_COLD}", target)
    f.jump("byte")
    f.begin("byte")
    at = f.phi("i64", "0", "entry")
    byte = f.value(f"load i8, ptr {f.at('%from', at)}, align 1")
    f.do(f"store i8 {byte}, ptr {f.at('%to', at)}, align 1")
    following = f.value(f"add i64 {at}, 1")
    f.feed(at, following, "byte")
    f.branch(f.value(f"icmp ult i64 {following}, 16"), "byte", "done")
    f.begin("done")
    f.do("ret void")
    return str(f)


def ecb(target: Target, direction: str) -> str:
    """``i32 aes_ecb_encrypt_overlap(ptr ctx, ptr src, ptr dst, i64 blocks)``, or ``aes_ecb_decrypt_overlap``."""
    f = Function(f"define i32 @aes_ecb_{direction}_overlap(ptr %ctx, ptr %src, ptr %dst, i64 %blocks) {_COLD}", target)
    end = _begin(f)
    at = f.phi("i64", "0", "start")
    f.do(f"call i32 @block_{direction}(ptr %ctx, ptr {f.at('%src', at)}, ptr {f.at('%dst', at)})")
    _again(f, at, end)
    f.do("ret i32 0")
    return str(f)


def cbc_encrypt(target: Target) -> str:
    """``i32 aes_cbc_encrypt_overlap(ptr ctx, ptr src, ptr dst, ptr iv, i64 blocks)``."""
    f = Function(
        f"define i32 @aes_cbc_encrypt_overlap(ptr %ctx, ptr %src, ptr %dst, ptr %iv, i64 %blocks) {_COLD}", target
    )
    f.branch(f.value("icmp eq ptr %src, %dst"), "same", "apart")

    f.begin("apart")
    end = _begin(f)
    at = f.phi("i64", "0", "start")
    place = f.at("%dst", at)
    f.do(
        f"call void @block_xor(ptr %iv, ptr {f.at('%src', at)})",
        f"call i32 @block_encrypt(ptr %ctx, ptr %iv, ptr {place})",
        f"call void @block_copy(ptr %iv, ptr {place})",
    )
    _again(f, at, end)
    f.do("ret i32 0")

    f.begin("same")
    end = f.value("shl i64 %blocks, 4")
    f.branch(f.value("icmp eq i64 %blocks, 0"), "unchanged", "in_place")
    f.begin("in_place")
    at = f.phi("i64", "0", "same")
    previous = f.phi("ptr", "%iv", "same")
    place = f.at("%dst", at)
    f.do(
        f"call void @block_xor(ptr {place}, ptr {previous})",
        f"call i32 @block_encrypt(ptr %ctx, ptr {place}, ptr {place})",
    )
    following = f.value(f"add i64 {at}, 16")
    f.feed(at, following, "in_place")
    f.feed(previous, place, "in_place")
    f.branch(f.value(f"icmp ult i64 {following}, {end}"), "in_place", "last")
    f.begin("last")
    f.do(f"call void @block_copy(ptr %iv, ptr {place})", "br label %unchanged")
    f.begin("unchanged")
    f.do("ret i32 0")
    return str(f)


def cbc_decrypt(target: Target) -> str:
    """``i32 aes_cbc_decrypt_overlap(ptr ctx, ptr src, ptr dst, ptr iv, i64 blocks)``."""
    f = Function(
        f"define i32 @aes_cbc_decrypt_overlap(ptr %ctx, ptr %src, ptr %dst, ptr %iv, i64 %blocks) {_COLD}", target
    )
    f.branch(f.value("icmp eq i64 %blocks, 0"), "unchanged", "some")
    f.begin("some")
    end = f.value("shl i64 %blocks, 4")
    f.branch(f.value("icmp eq ptr %src, %dst"), "same", "apart")

    f.begin("apart")
    at = f.phi("i64", "0", "some")
    previous = f.phi("ptr", "%iv", "some")
    source, place = f.at("%src", at), f.at("%dst", at)
    f.do(
        f"call i32 @block_decrypt(ptr %ctx, ptr {source}, ptr {place})",
        f"call void @block_xor(ptr {place}, ptr {previous})",
    )
    following = f.value(f"add i64 {at}, 16")
    f.feed(at, following, "apart")
    f.feed(previous, source, "apart")
    f.branch(f.value(f"icmp ult i64 {following}, {end}"), "apart", "last")
    f.begin("last")
    f.do(f"call void @block_copy(ptr %iv, ptr {source})", "ret i32 0")

    f.begin("same")
    saved = f.load(f.at("%dst", f.value(f"sub i64 {end}, 16")))
    f.jump("down")
    f.begin("down")
    above = f.phi("i64", end, "same")
    at = f.value(f"sub i64 {above}, 16")
    place = f.at("%dst", at)
    f.do(f"call i32 @block_decrypt(ptr %ctx, ptr {place}, ptr {place})")
    first = f.value(f"icmp eq i64 {at}, 0")
    before = f.value(f"select i1 {first}, ptr %iv, ptr {f.at(place, -16)}")
    f.do(f"call void @block_xor(ptr {place}, ptr {before})")
    f.feed(above, at, "down")
    f.branch(first, "saved", "down")
    f.begin("saved")
    f.store(saved, "%iv")
    f.jump("unchanged")
    f.begin("unchanged")
    f.do("ret i32 0")
    return str(f)


def _begin(f: Function) -> str:
    """Open a loop over ``%blocks`` blocks, in the block ``each`` that comes from ``start``; gives their size in bytes."""
    f.branch(f.value("icmp eq i64 %blocks, 0"), "finished", "start")
    f.begin("start")
    end = f.value("shl i64 %blocks, 4")
    f.jump("each")
    f.begin("each")
    return end


def _again(f: Function, at: str, end: str) -> None:
    """Close it."""
    following = f.value(f"add i64 {at}, 16")
    f.feed(at, following, "each")
    f.branch(f.value(f"icmp ult i64 {following}, {end}"), "each", "finished")
    f.begin("finished")
