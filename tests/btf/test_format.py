"""btf.format: C-like text."""

from __future__ import annotations

import pytest

from bpfcrypto.btf.format import declaration, format_layout, type_name
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Composite, Enum, Enumerator, FuncProto, Fwd, Kind, Member, Param, Ref
from bpfcrypto.errors import BtfError
from support.elfwriter import TypeBuilder


class Types(TypeBuilder):
    """Some types worth printing."""

    def __init__(self) -> None:
        super().__init__()
        self.const_char = self.add(Ref(Kind.CONST, self.char))
        self.text = self.pointer(self.const_char)
        self.texts = self.array(self.text, 4)
        self.fixed = self.add(Ref(Kind.CONST, self.pointer(self.int)))
        self.alias = self.add(Ref(Kind.TYPEDEF, self.u32, "u32"))
        self.proto = self.add(FuncProto(self.int, (Param("ctx", self.pointer(0)), Param("n", self.alias))))
        self.callback = self.pointer(self.proto)
        self.row = self.pointer(self.array(self.int, 3))
        inside = self.add(Composite(Kind.UNION, "", 8, (Member("x", self.u64, 0), Member("y", self.u32, 0))))
        ctx = self.add(Fwd("bpf_crypto_ctx"))
        self.kptr = self.pointer(self.add(Ref(Kind.TYPE_TAG, ctx, "kptr")))
        members = (
            Member("low", self.u32, 0, 3),
            Member("", inside, 64),
            Member("names", self.texts, 128),
            Member("call", self.callback, 384),
            Member("inner", inside, 448),
        )
        self.outer = self.add(Composite(Kind.STRUCT, "outer", 64, members))
        self.state = self.add(Enum(Kind.ENUM, "state", 4, True, (Enumerator("OFF", 0), Enumerator("BAD", -1))))
        self.section_id = self.section(".data", (self.variable("label", self.array(self.char, 8)), 4, 8), size=12)


T = Types()
BTF = read_btf(T.to_bytes())


@pytest.mark.parametrize(
    ("type_id", "name", "text"),
    [
        (0, "", "void"),
        (T.int, "x", "int x"),
        (T.text, "s", "const char *s"),
        (T.texts, "s", "const char *s[4]"),
        (T.fixed, "p", "int * const p"),
        (T.alias, "n", "u32 n"),
        (T.proto, "f", "int f(void *ctx, u32 n)"),
        (T.callback, "f", "int (*f)(void *ctx, u32 n)"),
        (T.row, "r", "int (*r)[3]"),
        (T.kptr, "c", '__attribute__((btf_type_tag("kptr"))) struct bpf_crypto_ctx *c'),
        (T.outer, "o", "struct outer o"),
        (T.state, "", "enum state"),
    ],
)
def test_declarations(type_id: int, name: str, text: str) -> None:
    """Types read as C writes them."""
    assert declaration(BTF, type_id, name) == text


def test_short_names() -> None:
    """Without qualifiers and tags, for messages."""
    assert type_name(BTF, T.texts) == "char *[4]"
    assert type_name(BTF, T.kptr) == "struct bpf_crypto_ctx *"
    assert type_name(BTF, T.outer) == "struct outer"


def test_layout_of_a_struct() -> None:
    """Offsets and sizes stand behind the members; anonymous and inline structs are shown inside."""
    assert format_layout(BTF, T.outer).splitlines() == [
        "struct outer {",
        "    unsigned int low : 3;  /* 0.0 3 bits */",
        "    union {",
        "        unsigned long long x;  /* 8 8 */",
        "        unsigned int y;  /* 8 4 */",
        "    };",
        "    const char *names[4];  /* 16 32 */",
        "    int (*call)(void *ctx, u32 n);  /* 48 8 */",
        "    union {",
        "        unsigned long long x;  /* 56 8 */",
        "        unsigned int y;  /* 56 4 */",
        "    } inner;",
        "};",
        "/* size: 64 */",
    ]


def test_layout_of_other_types() -> None:
    """Enumerations list their values, sections their variables; anything else is its declaration."""
    assert format_layout(BTF, T.state).splitlines() == ["enum state {", "    OFF = 0,", "    BAD = -1,", "};"]
    assert format_layout(BTF, T.section_id).splitlines() == ["section .data {", "    char label[8];  /* 4 8 */", "};"]
    assert format_layout(BTF, T.text) == "const char *"


def test_endless_types() -> None:
    """Text ends for pointers to themselves, and structs that contain themselves are an error."""
    types = TypeBuilder()
    loop, struct = types.add(Fwd("a")), types.add(Fwd("b"))
    types.replace(loop, Ref(Kind.PTR, loop))
    types.replace(struct, Composite(Kind.STRUCT, "", 8, (Member("a", struct, 0), Member("b", struct, 0))))
    btf = read_btf(types.to_bytes())

    assert "..." in declaration(btf, loop, "x")
    with pytest.raises(BtfError, match="nested"):
        format_layout(btf, struct)
