"""Rows of calls about text: numbers read, texts compared, texts printed."""

from __future__ import annotations

from collections.abc import Iterator

from support.call_rows import FRAME, SYSCALL, TC, XDP
from support.calls import Argument, Call, Mem, Row, Stack, Text, call

ARRAY = 200  # bytes below the frame pointer where an array of up to twelve arguments starts

NUMBERS = (
    b"0", b"1", b"-1", b"+1", b"12345", b"007", b"08", b"0x1f", b"0X1F", b"0x", b"0xg", b"x1f", b"1f", b"ff", b"FFg", b"  42", b"\t\n\v\f\r 42", b"\xa0 42",
    b"42 ", b"42x", b" ", b"-", b"--1", b"- 1", b" -5", b"-0", b"-0x10", b"0b11", b"9223372036854775807", b"9223372036854775808",
    b"-9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616", b"-18446744073709551615",
    b"0x7fffffffffffffff", b"0xffffffffffffffff", b"0x1ffffffffffffffff", b"0777777777777777777777", b"1777777777777777777777", b"2000000000000000000000",
    b"0" * 62 + b"5", b"0" * 63 + b"5", b"0" * 70 + b"5", b" " * 70 + b"5", b"1\0002", b"\0001", b"1_000", b"\xb25", b"1.5",
)  # fmt: skip
BASES = (0, 8, 10, 16)
WRONG_BASES = (1, 2, 7, 9, 17, 31, 32, 10 | 32, 10 | 1 << 32, 10 | 1 << 63)


def numbers() -> Iterator[Row]:
    """bpf_strtol and bpf_strtoul on every text in every base."""
    for helper in ("bpf_strtol", "bpf_strtoul"):
        for at, text in enumerate(NUMBERS):
            calls = [call(helper, Text(text), len(text), base, Mem(8 * i)) for i, base in enumerate(BASES)]
            yield Row(f"{helper[4:]}-{at}", (TC, XDP, SYSCALL)[at % 3], tuple(calls), b"" if at % 3 == 2 else FRAME)
        calls = [call(helper, Text(b"10"), 2, base, Mem(8 * i)) for i, base in enumerate(WRONG_BASES)]
        yield Row(f"{helper[4:]}-bases", TC, tuple(calls), FRAME)
        sizes = [call(helper, Text(b"123456"), size, 10, Mem(8 * i)) for i, size in enumerate((1, 2, 3, 7))]
        yield Row(f"{helper[4:]}-sizes", TC, tuple(sizes), FRAME)


def comparisons() -> Iterator[Row]:
    """bpf_strncmp: ends, sizes, and bytes above 127."""
    texts = (b"", b"a", b"ab", b"abc", b"abd", b"ab\0c", b"b", b"\x7f", b"\x80", b"\xff")
    for at, left in enumerate(texts):
        calls = [call("bpf_strncmp", Text(left), len(left) + 1, Text(right)) for right in texts]
        yield Row(f"strncmp-{at}", (TC, XDP, SYSCALL)[at % 3], tuple(calls), b"" if at % 3 == 2 else FRAME)
    calls = [call("bpf_strncmp", Text(b"abcdef"), size, Text(b"abcxyz")) for size in (1, 2, 3, 4, 6)]
    calls.append(call("bpf_strncmp", Mem(), 16, Text(bytes((11 * i + 5) & 0xFF for i in range(8)))))
    yield Row("strncmp-sizes", TC, tuple(calls), FRAME)


# A format, the arguments, and the sizes of the output. Bytes stand for the address of such a text.
Printed = tuple[bytes, tuple[int | bytes, ...], tuple[int, ...]]

_WHOLE = (64,)
PRINTED: tuple[Printed, ...] = (
    (b"plain", (), (64, 6, 5, 3, 1, 0)), (b"", (), (8, 1, 0)), (b"100%%", (), _WHOLE), (b"high \xe9\x80\xff", (), _WHOLE), (b"a\tb\n", (), _WHOLE),
    (b"%d", (5,), _WHOLE), (b"%d", (-5,), _WHOLE), (b"%d", (1 << 31,), _WHOLE), (b"%i|%u", (-1, -1), _WHOLE), (b"%x %X", (0xABC, 0xABC), _WHOLE),
    (b"%ld %lu", (-1, -1), _WHOLE), (b"%lld %llu %llx %llX", (1 << 63, 1 << 63, -1, -1), (128, 20)), (b"%li", (7,), _WHOLE),
    (b"%5d|%-5d|%05d|%+d|% d|%-05d|% 05d|%+05d", (42, 42, 42, 42, 42, 42, 42, -42), (128,)), (b"%0 +-8d|", (9,), _WHOLE), (b"%+u|% x", (9, 9), _WHOLE),
    (b"%c%c%c", (65, 0x142, 0xE9), _WHOLE), (b"%3c|%-3c|%03c", (65, 66, 67), _WHOLE), (b"a%cb", (0,), _WHOLE), (b"%c%d%c%ld", (65, 1, 66, 2), _WHOLE),
    (b"%s", (b"word",), (64, 5, 4, 2, 1, 0)), (b"%10s|%-10s|%010s", (b"abc", b"def", b"ghi"), (64, 12)), (b"%2s.", (b"abcdef",), _WHOLE), (b"%s %s", (b"", b"x"), _WHOLE),
    (b"%s", (0,), _WHOLE), (b"%s|%d", (4096, 7), _WHOLE), (b"%s,%d,%s", (b"one", 2, b"three"), (64, 4, 5, 6)),
    (b"%pks|%10pks|", (b"kernel", b"padded"), _WHOLE), (b"%pks,", (0,), _WHOLE),
    (b"%pI4", (b"\x0a\0\0\1",), (64, 8, 5)), (b"%pi4", (b"\x0a\0\0\1",), _WHOLE), (b"%pI4 %pI4", (b"\xff\xff\xff\xff", 0), _WHOLE), (b"%20pI4|", (b"\1\2\3\4",), _WHOLE),
    (b"%pI6", (b"\xfd" + b"\0" * 14 + b"\1",), (64, 40, 39, 20)), (b"%pi6", (b"\xfd" + b"\0" * 14 + b"\1",), _WHOLE), (b"%pI6 %pi6", (0, 0), (128,)),
    (b"%pI4abc.", (b"\1\2\3\4",), _WHOLE), (b"%pI6c z", (b"\xfd" + b"\0" * 14 + b"\1",), _WHOLE), (b"%pI4%d", (b"\1\2\3\4", 5), _WHOLE), (b"%pI4\xe9\xaa.", (b"\1\2\3\4",), _WHOLE),
    (b"%pI4 %d", (b"\1\2\3\4", 5), (4, 7, 8, 9)), (b"ab%pI4", (b"\1\2\3\4",), (0, 1, 2, 3)), (b"abcd%pI4|%d|%d", (b"\1\2\3\4", 0x41424344, 0x45464748), (2, 4, 5)),
    (b"abcd%pI6|%s", (0, b"tail"), (2, 4, 5)), (b"abcd%pI4|%c%c", (b"\1\2\3\4", 65, 66), (2,)),
    (b"%px", (0x1000,), _WHOLE), (b"%px|%20px|%-20px|%020px|%5px", (0x1000,) * 5, (128,)), (b"%pxyz.%px!", (1, 2), _WHOLE), (b"%p", (0,), _WHOLE),
    (b"%5p %p", (0, 0), _WHOLE), (b"%pK", (0,), _WHOLE), (b"%p", (-1,), _WHOLE), (b"%p %pK", (-4095, -1), _WHOLE),
    (b"%ps %pS %pB", (0x1000, 0x2000, 0x3000), _WHOLE), (b"%10ps|%-10pS|%10pB|", (1, 2, 3), _WHOLE), (b"%psq %pSq %pBq", (1, 2, 3), _WHOLE), (b"%pB,%d", (0, 9), (64, 1, 3)),
    (b"%d" * 12, tuple(range(12)), (64, 7)), (b"%lld,%d," * 6, tuple(range(12)), _WHOLE), (b"%d %s %c %ld %pI4 %x", (1, b"two", 51, 4, b"\5\5\5\5", 6), _WHOLE),
    (b"%pI6 " * 12, (b"\xff" * 16,) * 12, (600, 40)), (b"%s" * 4, (b"x" * 120,) * 4, (600, 100)),
    (b"%s" * 5, (b"x" * 120,) * 5, (600,)), (b"%s%d", (b"x" * 505, 1), (600,)), (b"%s%d", (b"x" * 508, 1), (600,)), (b"%s%lld", (b"x" * 505, 1), (600,)), (b"%s%c", (b"x" * 520, 1), (600,)),
    (b"%s%c", (b"x" * 510, 65), (600,)), (b"%s%s", (b"x" * 520, b"y"), (600,)), (b"%s%pI4", (b"x" * 510, 0), (600,)), (b"%s%pI6", (b"x" * 490, b"\xff" * 16), (600,)),
    (b"%300d|%300d|%600d", (1, 2, 3), (64, 700)),
)  # fmt: skip
REFUSED = (
    b"%", b"%y", b"%f", b"%hd", b"%zd", b"%lld%", b"%llld", b"%.5d", b"%*d", b"%#x", b"%n", b"%sx", b"%pz", b"%pI5", b"%pi", b"%pksx", b"%pu", b"%ls",
    b"bell\x07", b"del\x7f", b"%d\x01", b"% %", b"%5%", b"%d%d", b"%e", b"%o", b"%pM", b"%pI4\x02",
)  # fmt: skip


def _arguments(values: tuple[int | bytes, ...]) -> tuple[list[Call], Argument, int]:
    """The calls that put arguments into the array, the array, and its size."""
    puts = [
        call("put", Stack(ARRAY - 8 * i), Text(value) if isinstance(value, bytes) else value)
        for i, value in enumerate(values)
    ]
    return puts, Stack(ARRAY) if values else 0, 8 * len(values)


def printed() -> Iterator[Row]:
    """bpf_snprintf: every conversion, and outputs that are too small for it."""
    for at, (text, values, sizes) in enumerate(PRINTED):
        puts, array, length = _arguments(values)
        for size in sizes:
            calls = (*puts, call("bpf_snprintf", Mem(), size, Text(text), array, length))
            kind = SYSCALL if at % 2 else TC
            yield Row(f"snprintf-{at}-{size}", kind, calls, b"" if at % 2 else FRAME)
    yield Row("snprintf-to-null", TC, (call("bpf_snprintf", 0, 0, Text(b"12345"), 0, 0),), FRAME)
    spare, array, length = _arguments((1, 2, 3))
    yield Row("snprintf-spare", TC, (*spare, call("bpf_snprintf", Mem(), 32, Text(b"%d"), array, length)), FRAME)


def lines() -> Iterator[Row]:
    """bpf_trace_vprintk: the same conversions, what it refuses, and odd sizes of the array."""
    for at, (text, values, _) in enumerate(PRINTED):
        puts, array, length = _arguments(values)
        calls = (*puts, call("bpf_trace_vprintk", Text(text), len(text) + 1, array, length))
        yield Row(f"vprintk-{at}", TC, calls, FRAME)
    for at, text in enumerate(REFUSED):
        puts, array, length = _arguments((1,))
        calls = (*puts, call("bpf_trace_vprintk", Text(text), len(text) + 1, array, length))
        yield Row(f"vprintk-refused-{at}", XDP, calls, FRAME)
    for length in (0, 4, 7, 8, 9, 96, 97, 104):
        calls = (call("bpf_trace_vprintk", Text(b"%d"), 3, Stack(ARRAY), length),)
        yield Row(f"vprintk-size-{length}", TC, calls, FRAME)
    yield Row("vprintk-no-end", TC, (call("bpf_trace_vprintk", Text(b"abc"), 3, 0, 0),), FRAME)


SOURCES = (numbers, comparisons, printed, lines)
