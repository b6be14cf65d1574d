"""What random programs do with memory and by calls: maps, packets, contexts, dynptrs, crypto."""

from __future__ import annotations

from support.progen_core import BUFFER, DYNPTRS, ERR, KEY, OPS, SCALAR, SIZES, Writer


class Caller(Writer):
    """A writer that knows memory and calls."""

    # -- memory ----------------------------------------------------------------------------------------------------------------

    def access(self, base: str, size: int, atomics: bool = True) -> None:
        """Something within ``size`` bytes behind a register (not r1)."""
        rng = self.rng
        name, width = rng.choice([each for each in SIZES if each[1] <= size])
        off = width * rng.randrange(size // width)
        choice = rng.random()
        register = rng.choice(("r7", "r8", "r9"))
        if choice < 0.35:
            if register == base:
                register = "r0"
            self.put(f"{register} = *({rng.choice('us') if width < 8 else 'u'}{name[1:]} *)({base} {off:+})")
            if register != "r0":
                self.env[register] = SCALAR
        elif choice < 0.6 or not atomics:
            scalars = [each for each in self.scalars() if each != base]
            self.put(f"*({name} *)({base} {off:+}) = {rng.choice(scalars) if scalars else self.imm() & 0x7F}")
        elif width >= 4:
            self.put(f"r1 = {self.imm()}")
            wide = "64" if width == 8 else ""
            where = f"({name} *)({base} {off:+})"
            self.put(rng.choice((
                f"lock *{where} += r1", f"lock *{where} ^= r1", f"r1 = atomic{wide}_fetch_or({where}, r1)",
                f"r1 = atomic{wide}_xchg({where}, r1)", f"r1 = load_acquire({where})", f"store_release({where}, r1)",
            )))  # fmt: skip
        else:
            self.put(f"r0 = *({name} *)({base} {off:+})")

    def lookup(self, map_name: str | None = None) -> tuple[str, int]:
        """Look up an element and give the label for NULL and the element's size; r0 has the address."""
        map_name = map_name or self.rng.choice(("array", "array", "hash"))
        if map_name == "hash":
            self.put(f"*(u64 *)(r10 {KEY}) = {self.rng.randrange(3)}")
        else:
            self.put(f"*(u32 *)(r10 {KEY}) = {self.rng.randrange(3)}")
        self.put("r2 = r10", f"r2 += {KEY}", f"r1 = map[{map_name}]", "call bpf_map_lookup_elem")
        out = self.label()
        self.put(f"if r0 == 0x0 goto {out}")
        return out, {"array": 48, "hash": 16, "ctxs": 16, "locks": 24}[map_name]

    def value(self) -> None:
        """An element of a map, perhaps kept in a register, perhaps at an offset that is not known."""
        rng = self.rng
        index = self.scalar() if rng.random() < 0.5 else None
        out, size = self.lookup()
        before = dict(self.env)
        if index is not None:
            mask = rng.choice((7, 8, size // 2 - 1)) if rng.random() < 0.6 else 0
            width = size // 2
            if mask:
                mask = min(mask, width - 1)
                self.put(f"r2 = {index}", f"r2 &= {mask}", "r0 += r2")
                left = size - mask
            else:
                file = rng.choice("rw")
                self.put(f"{file}2 = {file}{index[1:]}", f"if {file}2 > {width:#x} goto {out}", "r0 += r2")
                left = size - width
            self.access("r0", left, atomics=False)
        else:
            keeper = rng.choice(("r7", "r8", "r9"))
            self.put(f"{keeper} = r0")
            self.env[keeper] = f"value{size}"
            self.access(keeper, size)
            self.block(2)
            if self.env.get(keeper) == f"value{size}":
                self.access(keeper, size)
        self.put(f"{out}:")
        self.merge(before)

    def update(self) -> None:
        map_name = self.rng.choice(("array", "hash"))
        size = 48 if map_name == "array" else 16
        self.put(f"*(u64 *)(r10 {KEY}) = {self.rng.randrange(3)}")
        self.put(f"r1 = map[{map_name}]", "r2 = r10", f"r2 += {KEY}")
        if map_name == "hash":
            if self.rng.random() < 0.3:
                self.put("call bpf_map_delete_elem")
                return
            for off in (0, 8):
                self.put(f"*(u64 *)(r10 {BUFFER + off}) = {self.imm()}")
            self.put("r3 = r10", f"r3 += {BUFFER}")
        else:
            self.put(f"r3 = map[data][0]+{self.rng.randrange(64 - size + 1)}")
        self.put(f"r4 = {self.rng.choice((0, 0, 1, 2))}", "call bpf_map_update_elem")

    def packet(self) -> None:
        """Bytes between data and data_end."""
        rng = self.rng
        if self.kind == "syscall" or not self.in_main:
            self.alu()
            return
        fields = (76, 80) if self.kind == "tc" else (0, 4)
        size = rng.choice((1, 2, 14, 20, 34))
        out = self.label()
        keeper = rng.choice(("r7", "r8", "r9"))
        index = rng.choice([each for each in self.scalars() if each != keeper] or [""])
        self.put(f"{keeper} = *(u32 *)(r6 +{fields[0]})", f"r3 = *(u32 *)(r6 +{fields[1]})")
        variable = index and rng.random() < 0.4
        if variable:
            self.put(f"r2 = {index}", f"r2 &= {rng.choice((3, 15, 63))}", f"{keeper} += r2")
        self.env.pop(keeper, None)
        before = dict(self.env)
        self.put(f"r2 = {keeper}", f"r2 += {size}")
        self.put(rng.choice((f"if r2 > r3 goto {out}", f"if r3 < r2 goto {out}", f"if r2 >= r3 goto {out}")))
        self.env[keeper] = f"packet{size}"
        self.access(keeper, size, atomics=False)
        if self.env.get(keeper) == f"packet{size}" and rng.random() < 0.4:
            self.access(keeper, size, atomics=False)
        self.env.pop(keeper, None)
        self.put(f"{out}:")
        self.merge(before)

    def context(self) -> None:
        rng = self.rng
        if not self.in_main:
            self.alu()
            return
        register = rng.choice(("r7", "r8", "r9"))
        if self.kind == "tc":
            if rng.random() < 0.4:
                self.put(f"*(u32 *)(r6 +{rng.choice((8, 32, 48, 52, 64))}) = {self.scalar()}")
                return
            field = rng.choice((0, 8, 16, 20, 24, 32, 48, 52, 56, 60, 64))
            self.put(f"{register} = *({rng.choice(('u8', 'u16', 'u32', 'u32'))} *)(r6 +{field})")
        elif self.kind == "xdp":
            self.put(f"{register} = *(u32 *)(r6 +{rng.choice((12, 16))})")
        else:
            self.put(f"{register} = *(u64 *)(r6 +{8 * rng.randrange(4)})")
        self.env[register] = SCALAR

    # -- calls -----------------------------------------------------------------------------------------------------------------

    def helper(self) -> None:
        rng = self.rng
        choice = rng.randrange(6)
        if choice == 0 and self.kind == "tc" and self.in_main:
            out = self.label()
            length = self.scalar()
            self.put(f"r4 = {length}", f"if r4 > {rng.choice((8, 16, 32)):#x} goto {out}", f"if r4 == 0x0 goto {out}")
            self.put("r1 = r6", f"r2 = {rng.randrange(40)}", "r3 = r10", f"r3 += {BUFFER}", "call bpf_skb_load_bytes")
            self.put(f"{out}:")
        elif choice == 1 and self.kind == "tc" and self.in_main:
            self.put("r1 = r6", f"r2 = {rng.randrange(40)}", f"r3 = map[data][0]+{rng.randrange(40)}")
            self.put(f"r4 = {rng.randrange(1, 20)}", "r5 = 0", "call bpf_skb_store_bytes")
            self.forget_packets()
        elif choice == 2 and self.kind == "xdp" and self.in_main:
            self.put("r1 = r6", f"r2 = {rng.choice((0, 4, -4))}", "call bpf_xdp_adjust_head")
            self.forget_packets()
        elif choice == 3 and self.kind == "tc" and self.in_main:
            self.put("r1 = r6", f"r2 = {rng.randrange(60)}", "call bpf_skb_pull_data")
            self.forget_packets()
        elif choice == 4:
            self.put(f"*(u64 *)(r10 {BUFFER}) = {self.imm()}", "r1 = map[queue]", "r2 = r10", f"r2 += {BUFFER}")
            self.put(
                *rng.choice(
                    (("r3 = 0", "call bpf_map_push_elem"), ("call bpf_map_pop_elem",), ("call bpf_map_peek_elem",))
                )
            )
        else:
            self.put("r1 = r10", f"r1 += {BUFFER}", "r2 = 32", f"*(u64 *)(r10 {BUFFER}) = {self.imm()}")
            self.put(*(f"*(u64 *)(r10 {BUFFER + off}) = 7" for off in (8, 16, 24)))
            self.put("r3 = r1" if rng.random() < 0.5 else "r3 = 0", f"r4 = {rng.choice((0, 16, 32))}")
            if self.lines[-2] == "r3 = 0":
                self.lines[-1] = "r4 = 0"
            self.put("r5 = 0", "call bpf_csum_diff")
            register = rng.choice(("r7", "r8", "r9"))
            self.put(f"{register} = r0")
            self.env[register] = SCALAR

    def forget_packets(self) -> None:
        self.env = {name: what for name, what in self.env.items() if not what.startswith("packet")}

    def tail(self) -> None:
        if not self.in_main:
            self.alu()
            return
        self.put("r1 = r6", "r2 = map[tails]", f"r3 = {self.rng.randrange(3)}", "call bpf_tail_call")

    def ringbuf(self) -> None:
        out = self.label()
        self.put("r1 = map[ring]", f"r2 = {self.rng.choice((8, 16, 48))}", "r3 = 0", "call bpf_ringbuf_reserve")
        size = int(self.lines[-3].split()[-1])
        self.put(f"if r0 == 0x0 goto {out}", f"*(u64 *)(r10 {ERR}) = r0")
        before = dict(self.env)
        self.put("r2 = r0", f"*(u64 *)(r2 +{size - 8}) = 7")
        self.atomic += 1
        self.block(2)
        self.atomic -= 1
        self.put(
            f"r1 = *(u64 *)(r10 {ERR})",
            "r2 = 0",
            self.rng.choice(("call bpf_ringbuf_submit", "call bpf_ringbuf_discard")),
        )
        self.put(f"{out}:")
        self.merge(before)

    def section(self) -> None:
        begin, end = self.rng.choice(
            (("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), ("bpf_preempt_disable", "bpf_preempt_enable"))
        )
        self.put(f"call {begin}")
        self.block(2)
        self.put(f"call {end}")

    def locked(self) -> None:
        out, _size = self.lookup("locks")
        before = dict(self.env)
        self.put(f"*(u64 *)(r10 {ERR}) = r0", "r1 = r0", "call bpf_spin_lock")
        self.atomic += 1
        for _ in range(self.rng.randrange(1, 3)):
            self.alu()
        self.put(f"r2 = *(u64 *)(r10 {ERR})", f"*(u64 *)(r2 +{self.rng.choice((8, 16))}) = {self.scalar()}")
        if self.rng.random() < 0.4:
            end = self.label()
            self.put(f"{self.condition()} goto {end}")
            inner = dict(self.env)
            self.alu()
            self.put(f"{end}:")
            self.merge(inner)
        self.atomic -= 1
        self.put(f"r1 = *(u64 *)(r10 {ERR})", "call bpf_spin_unlock", f"{out}:")
        self.merge(before)

    def function(self) -> None:
        """A call of a function made for it."""
        rng = self.rng
        proto = rng.choice(
            ("static", "static", "static", "global_scalar", "global_mem", "global_nonnull", "global_dynptr")
        )
        if proto == "global_dynptr" and not self.dynptrs:
            proto = "static"
        name = f"f{len(self.later)}_{rng.randrange(1000)}"
        first: str
        if proto in ("global_mem", "global_nonnull"):
            offset = rng.randrange(6) * 8
            first = f"r1 = map[data][0]+{offset}"
        elif proto == "global_dynptr":
            first = f"r1 = r10\nr1 += {rng.choice(self.dynptrs)}"
        else:
            first = f"r1 = {self.scalar()}"
        second = f"r2 = {self.scalar()}" if rng.random() < 0.6 else f"r2 = {self.imm()}"
        pointer = proto == "static" and rng.random() < 0.35
        if pointer:
            self.put(f"*(u64 *)(r10 {BUFFER}) = {self.imm()}")
            first = f"r1 = r10\nr1 += {BUFFER}"
        self.put(*first.split("\n"), second, f"call {name}")
        self.subprogram(name, proto, pointer)
        if rng.random() < 0.7:
            register = rng.choice(("r7", "r8", "r9"))
            self.put(f"{register} = r0")
            self.env[register] = SCALAR

    def subprogram(self, name: str, proto: str, pointer: bool = False) -> None:
        rng = self.rng
        inner = type(self)(rng, self.kind)
        inner.in_main, inner.labels, inner.depth = False, self.labels + 1000 * (len(self.later) + 1), 2
        inner.budget = rng.randrange(1, 4)
        inner.later = self.later
        inner.later.append("")
        place = len(inner.later) - 1
        out = ""
        if proto in ("static", "global_scalar") and not pointer:
            inner.put("r7 = r1", "r8 = r2")
            inner.env = {"r7": SCALAR, "r8": SCALAR}
        elif pointer:
            inner.put(
                "r6 = r1",
                "r8 = r2",
                "r7 = *(u64 *)(r6 +0)",
                f"r7 {rng.choice(OPS[:6])} {self.imm()}",
                "*(u64 *)(r6 +0) = r7",
            )
            inner.env = {"r7": SCALAR, "r8": SCALAR}
        elif proto in ("global_mem", "global_nonnull"):
            inner.put("r6 = r1", "r8 = r2")
            inner.env = {"r8": SCALAR}
            if proto == "global_mem":
                out = inner.label()
                inner.put("r9 = 0", f"if r6 == 0x0 goto {out}")
            inner.access("r6", 16)
        elif proto == "callback":
            inner.put("r7 = r1", "r6 = r2")
            inner.env = {"r7": SCALAR}
            inner.budget = rng.randrange(0, 3)
            if pointer is False and rng.random() < 0.5:
                inner.alu()
        else:
            inner.put("r6 = r1", "r8 = r2")
            inner.env = {"r8": SCALAR}
        inner.block(2)
        if out:
            inner.env = {}
            inner.put(f"{out}:")
        if proto == "callback":
            inner.put(f"r0 = {rng.choice((0, 0, 1))}")
        else:
            inner.put(f"r0 = {inner.scalar()}")
        inner.put("exit")
        self.later[place] = "\n".join((f"func {name} {proto}", *inner.lines))

    def each(self) -> None:
        """bpf_loop, whose callback changes the caller's stack."""
        name = f"c{len(self.later)}_{self.rng.randrange(1000)}"
        rounds = self.scalar() if self.rng.random() < 0.3 else ""
        self.put(f"*(u64 *)(r10 {BUFFER}) = {self.imm()}")
        self.put(f"r1 = {self.rng.randrange(6)}" if not rounds else f"r1 = {rounds}")
        if rounds:
            self.put("r1 &= 7")
        self.put(f"r2 = subprog[{name}]", "r3 = r10", f"r3 += {BUFFER}", "r4 = 0", "call bpf_loop")
        rng = self.rng
        lines = ["r6 = r2", "r7 = r1", "r8 = *(u64 *)(r6 +0)", f"r8 {rng.choice(OPS[:6])} {rng.choice(('r7', '3'))}"]
        lines += rng.choice(
            (
                ["*(u64 *)(r6 +0) = r8"],
                [f"if r8 > {self.imm() & 0xFFFF:#x} goto {name}_x", "*(u64 *)(r6 +0) = r8", f"{name}_x:"],
            )
        )
        self.later.append("\n".join((f"func {name} callback", *lines, f"r0 = {rng.choice((0, 0, 1))}", "exit")))
        register = rng.choice(("r7", "r8", "r9"))
        self.put(f"{register} = *(u64 *)(r10 {BUFFER})")
        self.env[register] = SCALAR

    # -- dynptrs and crypto ------------------------------------------------------------------------------------------------------

    def dynptr(self) -> None:
        rng = self.rng
        free = [at for at in DYNPTRS if at not in self.dynptrs]
        if not free:
            self.use_dynptr()
            return
        at = rng.choice(free)
        source = rng.choice(("mem", "mem", "packet"))
        if source == "packet" and self.kind != "syscall" and self.in_main:
            self.put(
                "r1 = r6",
                "r2 = 0",
                "r3 = r10",
                f"r3 += {at}",
                f"call bpf_dynptr_from_{'skb' if self.kind == 'tc' else 'xdp'}",
            )
        else:
            self.put(
                f"r1 = map[data][0]+{rng.randrange(20)}",
                f"r2 = {rng.randrange(1, 40)}",
                "r3 = 0",
                "r4 = r10",
                f"r4 += {at}",
            )
            self.put("call bpf_dynptr_from_mem")
        self.dynptrs.append(at)
        for _ in range(rng.randrange(1, 3)):
            self.use_dynptr()
        self.block(1)
        self.dynptrs.remove(at)

    def use_dynptr(self) -> None:
        rng = self.rng
        if not self.dynptrs:
            self.alu()
            return
        at = rng.choice(self.dynptrs)
        choice = rng.randrange(6)
        if choice == 0:
            self.put("r1 = r10", f"r1 += {BUFFER}", f"r2 = {rng.randrange(1, 17)}", "r3 = r10", f"r3 += {at}")
            self.put(f"r4 = {rng.randrange(8)}", "r5 = 0", "call bpf_dynptr_read")
        elif choice == 1:
            self.put(
                f"*(u64 *)(r10 {BUFFER}) = {self.imm()}",
                "r1 = r10",
                f"r1 += {at}",
                f"r2 = {rng.randrange(20)}",
                "r3 = r10",
            )
            self.put(f"r3 += {BUFFER}", f"r4 = {rng.randrange(1, 9)}", "r5 = 0", "call bpf_dynptr_write")
            self.forget_packets()
        elif choice == 2:
            out = self.label()
            size = rng.choice((4, 8, 16))
            self.put(
                "r1 = r10", f"r1 += {at}", f"r2 = {rng.randrange(8)}", "r3 = r10", f"r3 += {BUFFER}", f"r4 = {size}"
            )
            self.put(*(f"*(u64 *)(r10 {BUFFER + off}) = 0" for off in (0, 8)))
            self.put(
                "call bpf_dynptr_slice",
                f"if r0 == 0x0 goto {out}",
                f"r1 = *(u8 *)(r0 +{rng.randrange(size)})",
                f"{out}:",
            )
        elif choice == 3:
            self.put(
                "r1 = r10",
                f"r1 += {at}",
                f"r2 = {rng.randrange(5)}",
                f"r3 = {rng.randrange(5, 20)}",
                "call bpf_dynptr_adjust",
            )
        elif choice == 4:
            register = rng.choice(("r7", "r8", "r9"))
            self.put("r1 = r10", f"r1 += {at}", "call bpf_dynptr_size", f"w{register[1:]} = w0")
            self.env[register] = SCALAR
        else:
            self.put(
                "r1 = r10",
                f"r1 += {at}",
                f"r2 = {rng.randrange(4)}",
                f"r3 = {rng.randrange(9)}",
                "r4 = 0",
                "call bpf_dynptr_memset",
            )
            self.forget_packets()

    def crypto(self) -> None:
        (self.make_context if self.kind == "syscall" else self.encrypt)()

    def make_context(self) -> None:
        """Create a context, perhaps take another reference, and put it into a map or release it."""
        rng = self.rng
        if self.atomic or not self.in_main:
            self.alu()
            return
        out = self.label()
        self.put("r1 = map[params][0]+0", "r2 = 408", "r3 = r10", f"r3 += {ERR}", f"*(u64 *)(r10 {ERR}) = 0")
        self.put("call bpf_crypto_ctx_create", f"if r0 == 0x0 goto {out}", f"*(u64 *)(r10 {ERR}) = r0")
        before = dict(self.env)
        if rng.random() < 0.5:
            none = self.label()
            self.put(
                "r1 = r0",
                "call bpf_crypto_ctx_acquire",
                f"if r0 == 0x0 goto {none}",
                "r1 = r0",
                "call bpf_crypto_ctx_release",
                f"{none}:",
            )
        if rng.random() < 0.5:
            self.alu()
        if rng.random() < 0.6:
            keep, old = self.label(), self.label()
            self.put(
                f"*(u32 *)(r10 {KEY}) = {rng.randrange(3)}",
                "r2 = r10",
                f"r2 += {KEY}",
                "r1 = map[ctxs]",
                "call bpf_map_lookup_elem",
            )
            self.put(f"if r0 == 0x0 goto {keep}", "r1 = r0", f"r2 = *(u64 *)(r10 {ERR})", "call bpf_kptr_xchg")
            self.put(f"if r0 == 0x0 goto {old}", "r1 = r0", "call bpf_crypto_ctx_release", f"goto {old}", f"{keep}:")
            self.put(f"r1 = *(u64 *)(r10 {ERR})", "call bpf_crypto_ctx_release", f"{old}:")
        else:
            self.put(f"r1 = *(u64 *)(r10 {ERR})", "call bpf_crypto_ctx_release")
        self.put(f"{out}:")
        self.merge(before)

    def encrypt(self) -> None:
        """Use the context of a map, which may be there or not, on memory."""
        rng = self.rng
        if self.atomic or not self.in_main or self.dynptrs:
            self.use_dynptr()
            return
        out, _size = self.lookup("ctxs")
        end = self.label()
        before = dict(self.env)
        under_rcu = rng.random() < 0.8
        self.put(
            "r9 = r0",
            "call bpf_rcu_read_lock" if under_rcu else "r1 = 0",
            "r9 = *(u64 *)(r9 +0)",
            f"if r9 == 0x0 goto {end}",
        )
        for at, off in zip(DYNPTRS, (0, 16), strict=True):
            self.put(
                f"r1 = map[data][0]+{off}", "r2 = 16", "r3 = 0", "r4 = r10", f"r4 += {at}", "call bpf_dynptr_from_mem"
            )
        self.put("r1 = r9", "r2 = r10", f"r2 += {DYNPTRS[0]}", "r3 = r10", f"r3 += {DYNPTRS[1]}", "r4 = 0")
        self.put(f"call {rng.choice(('bpf_crypto_encrypt', 'bpf_crypto_decrypt'))}", f"{end}:")
        self.put("call bpf_rcu_read_unlock" if under_rcu else "r1 = 0", f"{out}:")
        self.env.pop("r9", None)
        before.pop("r9", None)
        self.merge(before)
