"""IR that makes and destroys key schedules.

The expansion is FIPS 197's, word by word. The S-box is applied by the CPU, to a state whose four columns are the same
word, in which ShiftRows moves nothing. No table is read and no branch depends on the key.
"""

from __future__ import annotations

from bpfcrypto.embedded.jit.aes_code import BLOCK, Function
from bpfcrypto.embedded.jit.aes_layout import DECRYPT_KEYS, ENCRYPT_KEYS, ROUNDS, SIZE
from bpfcrypto.embedded.jit.aes_targets import Target


def expand(target: Target) -> str:
    """``void aes_expand(ptr key, i64 size, ptr ctx)``: rounds and round keys from a key of 16, 24 or 32 bytes."""
    f = Function("define void @aes_expand(ptr %key, i64 %size, ptr %ctx)", target)
    keys = f.at("%ctx", ENCRYPT_KEYS)
    length = f.value("lshr i64 %size, 2")  # Nk of FIPS 197, words
    rounds = f.value(f"add i64 {length}, 6")
    f.do(
        f"store i32 {f.value(f'trunc i64 {rounds} to i32')}, ptr {f.at('%ctx', ROUNDS)}, align 4",
    )
    total = f.value(f"add i64 {f.value(f'shl i64 {rounds}, 2')}, 4")
    long_key = f.value(f"icmp eq i64 {length}, 8")

    f.jump("copy")
    f.begin("copy")
    f.do("%c = phi i64 [ 0, %entry ], [ %c.next, %copy ]")
    word = f.value(f"load i32, ptr {f.value('getelementptr i32, ptr %key, i64 %c')}, align 1")
    f.do(f"store i32 {word}, ptr {f.value(f'getelementptr i32, ptr {keys}, i64 %c')}, align 4")
    f.do("%c.next = add i64 %c, 1")
    f.branch(f.value(f"icmp ult i64 %c.next, {length}"), "copy", "word")

    # %i counts words, %in is i modulo Nk
    f.begin("word")
    f.do(
        f"%i = phi i64 [ {length}, %copy ], [ %i.next, %mix ]",
        "%in = phi i64 [ 0, %copy ], [ %in.next, %mix ]",
        "%rcon = phi i32 [ 1, %copy ], [ %rcon.next, %mix ]",
        "%before = phi i32 [ " + word + ", %copy ], [ %mixed, %mix ]",
    )
    whole = f.value("icmp eq i64 %in, 0")
    half = f.value(f"and i1 {long_key}, {f.value('icmp eq i64 %in, 4')}")
    f.branch(f.value(f"or i1 {whole}, {half}"), "substitute", "mix")

    f.begin("substitute")
    column = f.value("insertelement <4 x i32> poison, i32 %before, i32 0")
    state = f.value(f"shufflevector <4 x i32> {column}, <4 x i32> poison, <4 x i32> zeroinitializer")
    boxed = f.substitute(f.value(f"bitcast <4 x i32> {state} to {BLOCK}"))
    changed = f.value(f"extractelement <4 x i32> {f.value(f'bitcast {BLOCK} {boxed} to <4 x i32>')}, i32 0")
    turned = f.value(f"call i32 @llvm.fshr.i32(i32 {changed}, i32 {changed}, i32 8)")
    turned = f.value(f"xor i32 {turned}, %rcon")
    chosen = f.value(f"select i1 {whole}, i32 {turned}, i32 {changed}")
    doubled = f.value("shl i32 %rcon, 1")
    wrapped = f.value(f"select i1 {f.value(f'icmp ugt i32 {doubled}, 255')}, i32 27, i32 {doubled}")  # x^8 in GF(2^8)
    following = f.value(f"select i1 {whole}, i32 {wrapped}, i32 %rcon")
    f.jump("mix")

    f.begin("mix")
    f.do(
        f"%t = phi i32 [ %before, %word ], [ {chosen}, %substitute ]",
        f"%rcon.next = phi i32 [ %rcon, %word ], [ {following}, %substitute ]",
    )
    earlier = f.value(f"getelementptr i32, ptr {keys}, i64 {f.value(f'sub i64 %i, {length}')}")
    f.do(
        f"%mixed = xor i32 %t, {f.value(f'load i32, ptr {earlier}, align 4')}",
        f"store i32 %mixed, ptr {f.value(f'getelementptr i32, ptr {keys}, i64 %i')}, align 4",
        "%i.next = add i64 %i, 1",
        "%in.raw = add i64 %in, 1",
    )
    f.do(f"%in.next = select i1 {f.value(f'icmp eq i64 %in.raw, {length}')}, i64 0, i64 %in.raw")
    f.branch(f.value(f"icmp ult i64 %i.next, {total}"), "word", "invert")

    # the keys of decryption: those of encryption backwards, the inner ones through InvMixColumns
    f.begin("invert")
    inverse = f.at("%ctx", DECRYPT_KEYS)
    end = f.at(keys, f.value(f"shl i64 {rounds}, 4"))
    f.store(f.load(end, align=16), inverse, align=16)
    f.jump("inner")
    f.begin("inner")
    f.do("%r = phi i64 [ 1, %invert ], [ %r.next, %inner ]")
    mirrored = f.at(keys, f.value(f"shl i64 {f.value(f'sub i64 {rounds}, %r')}, 4"))
    f.store(f.call("aesimc", 1, f.load(mirrored, align=16)), f.at(inverse, f.value("shl i64 %r, 4")), align=16)
    f.do("%r.next = add i64 %r, 1")
    f.branch(f.value(f"icmp ult i64 %r.next, {rounds}"), "inner", "done")
    f.begin("done")
    f.store(f.load(keys, align=16), f.at(inverse, f.value(f"shl i64 {rounds}, 4")), align=16)
    f.do("ret void")
    return f"declare i32 @llvm.fshr.i32(i32, i32, i32)\n{f}"


def wipe(target: Target) -> str:
    """``void aes_wipe(ptr ctx)``: every byte of a context is zero afterwards; volatile, so that no pass takes it for useless."""
    f = Function("define void @aes_wipe(ptr %ctx)", target)
    f.jump("word")
    f.begin("word")
    f.do("%at = phi i64 [ 0, %entry ], [ %next, %word ]")
    f.do(f"store volatile i64 0, ptr {f.at('%ctx', '%at')}, align 8", "%next = add i64 %at, 8")
    f.branch(f.value(f"icmp ult i64 %next, {SIZE}"), "word", "done")
    f.begin("done")
    f.do("ret void")
    return str(f)
