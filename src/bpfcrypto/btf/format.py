"""C-like text of types, for messages and for people.

``type_name`` is a type in a few words; ``format_layout`` is a struct with the offset and size of each member, in the manner of
pahole.
"""

from __future__ import annotations

from collections.abc import Iterator

from bpfcrypto.btf.types import Array, Btf, Composite, DataSec, Enum, FuncProto, Fwd, Kind, Member, Ref, Type, Var, Void
from bpfcrypto.btf.walk import MAX_DEPTH
from bpfcrypto.errors import BtfError

_KEYWORDS = {Kind.STRUCT: "struct ", Kind.UNION: "union ", Kind.ENUM: "enum ", Kind.ENUM64: "enum "}
_QUALIFIERS = {Kind.CONST: "const ", Kind.VOLATILE: "volatile ", Kind.RESTRICT: "restrict "}
_INDENT = "    "


def type_name(btf: Btf, type_id: int) -> str:
    """What C calls the type, without qualifiers: ``struct pair``, ``char[16]``, ``struct sk_buff *``."""
    return declaration(btf, type_id, "", qualifiers=False)


def declaration(btf: Btf, type_id: int, name: str, *, qualifiers: bool = True) -> str:
    """A declaration of ``name``: ``char *names[4]``, ``int (*)(void *, unsigned int)``.

    Args:
        btf: the table.
        type_id: the type.
        name: what is declared; "" for the bare type.
        qualifiers: whether const, volatile, restrict and type tags are shown.
    """
    return _declare(btf, type_id, name, qualifiers, 0).strip()


def _declare(btf: Btf, type_id: int, inner: str, qualifiers: bool, depth: int) -> str:
    if depth > MAX_DEPTH:
        return f"... {inner}"
    record = btf[type_id]
    match record:
        case Ref(kind=Kind.PTR):
            target = btf[_bare(btf, record.type_id)]
            star = f"*{inner}"
            wrapped = f"({star})" if isinstance(target, Array | FuncProto) else star
            return _declare(btf, record.type_id, wrapped, qualifiers, depth + 1)
        case Ref(kind=Kind.TYPEDEF):
            return _joined(record.name, inner)
        case Ref():
            return _qualified(btf, record, inner, qualifiers, depth)
        case Array():
            return _declare(btf, record.element, f"{inner}[{record.count}]", qualifiers, depth + 1)
        case FuncProto():
            params = ", ".join(_declare(btf, p.type_id, p.name, qualifiers, depth + 1).strip() for p in record.params)
            return _declare(btf, record.returns, f"{inner}({params or 'void'})", qualifiers, depth + 1)
        case Var():
            return _declare(btf, record.type_id, inner or record.name, qualifiers, depth + 1)
        case _:
            return _joined(_plain(record), inner)


def _joined(word: str, inner: str) -> str:
    """A type's word and what is declared; the brackets of a nameless array stand close."""
    return word + inner if inner.startswith("[") else f"{word} {inner}"


def _qualified(btf: Btf, record: Ref, inner: str, qualifiers: bool, depth: int) -> str:
    """A const, volatile, restrict or tagged type: the word stands before the type, or behind the star of a pointer."""
    if not qualifiers:
        return _declare(btf, record.type_id, inner, qualifiers, depth + 1)
    word = (
        f'__attribute__((btf_type_tag("{record.name}"))) ' if record.kind is Kind.TYPE_TAG else _QUALIFIERS[record.kind]
    )
    target = btf[record.type_id]
    if isinstance(target, Ref) and target.kind is Kind.PTR:
        return _declare(btf, record.type_id, f" {word}{inner}", qualifiers, depth + 1)
    return word + _declare(btf, record.type_id, inner, qualifiers, depth + 1)


def _bare(btf: Btf, type_id: int) -> int:
    """The id behind qualifiers and tags, but not behind a typedef."""
    for _ in range(MAX_DEPTH):
        record = btf[type_id]
        if not isinstance(record, Ref) or record.kind in (Kind.PTR, Kind.TYPEDEF):
            break
        type_id = record.type_id
    return type_id


def _plain(record: Type) -> str:
    match record:
        case Composite() | Enum():
            return _KEYWORDS[record.kind] + (record.name or "(anonymous)")
        case Fwd():
            return ("union " if record.is_union else "struct ") + record.name
        case Void():
            return "void"
        case _:
            return record.name


def format_layout(btf: Btf, type_id: int) -> str:
    """A type with the place of everything in it, one line each.

    Structs, unions and data sections show offset and size in bytes (``offset.bit`` and ``bits`` for bit fields), anonymous members
    nested; enumerations show their values; any other type is its declaration.
    """
    record = btf[btf.resolve(type_id)]
    match record:
        case Composite():
            return "\n".join([*_composite(btf, record, 0, "", 0), f"/* size: {record.size} */"])
        case Enum():
            return "\n".join(
                [f"{_plain(record)} {{", *(f"{_INDENT}{v.name} = {v.value}," for v in record.values), "};"]
            )
        case DataSec():
            rows = [f"{declaration(btf, row.type_id, '')};  /* {row.offset} {row.size} */" for row in record.variables]
            return "\n".join([f"section {record.name} {{", *(_INDENT + row for row in rows), "};"])
        case _:
            return declaration(btf, type_id, "")


def _composite(btf: Btf, record: Composite, base: int, name: str, depth: int) -> Iterator[str]:
    keyword = _KEYWORDS[record.kind].strip()
    yield f"{keyword} {record.name} {{" if record.name else f"{keyword} {{"
    for member in record.members:
        for line in _member(btf, member, base, depth):
            yield _INDENT + line
    yield f"}} {name};" if name else "};"


def _member(btf: Btf, member: Member, base: int, depth: int) -> Iterator[str]:
    first = base + member.bit_offset
    inner = btf[btf.resolve(member.type_id)]
    if depth > MAX_DEPTH:
        raise BtfError(f"structs are nested more than {MAX_DEPTH} deep", section=".BTF")
    if isinstance(inner, Composite) and not inner.name:
        yield from _composite(btf, inner, first, member.name, depth + 1)
    elif member.bit_size:
        text = declaration(btf, member.type_id, f"{member.name} : {member.bit_size}")
        yield f"{text};  /* {first // 8}.{first % 8} {member.bit_size} bits */"
    else:
        yield f"{declaration(btf, member.type_id, member.name)};  /* {first // 8} {btf.size_of(member.type_id)} */"
