"""``bpfcrypto maps``: what an object says of its maps and variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bpfcrypto.cli.main import main
from bpfcrypto.cli.maps import map_dict, variable_dict
from bpfcrypto.loader.load import load_spec

BPF = Path(__file__).parents[1] / "bpf"


def printed(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    assert main(["maps", str(BPF / f"{name}.bpf.o"), *arguments]) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, Any]:
    return json.loads(printed(capsys, name, "--json"))  # type: ignore[no-any-return]


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each map, data sections included: type, sizes, entries, flags, pinning."""
    lines = printed(capsys, "maps_kptr").splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1 : lines.index("")]}

    assert lines[0].split() == ["map", "type", "key", "value", "entries", "flags", "pinning"]
    assert rows["m_hash"] == ["HASH", "4", "24", "4", "-", "none"]
    assert rows["m_hash_lazy"] == ["HASH", "4", "24", "4", "NO_PREALLOC", "none"]
    assert rows[".bss"][5] == "none"


def test_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    """Below, the layouts of keys and values with offsets, with those of the structures inside, and special fields."""
    parts = printed(capsys, "layouts").split("\n\n")
    contexts = printed(capsys, "maps_kptr").split("\n\n")[1].splitlines()

    hash_part = next(part for part in parts if part.startswith("m_hash: HASH"))
    assert (
        "  key: struct inner\n    struct inner {\n        u8 a;  /* 0 1 */\n        s16 b[3];  /* 2 6 */\n" in hash_part
    )
    assert "        s32 five : 5;  /* 0.4 5 bits */\n" in hash_part
    array_part = next(part for part in parts if part.startswith("m_array: ARRAY"))
    assert (
        array_part.index("struct all {")
        < array_part.index("    struct inner {")
        < array_part.index("    struct bits {")
    )
    assert array_part.count("struct inner {") == 1
    assert "                    u8 bytes[4];  /* 44 4 */" in array_part
    assert contexts[-1] == "  special: kptr to struct bpf_crypto_ctx at offset 8"


def test_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """Each variable has its section, offset, size and type."""
    out = printed(capsys, "variables")
    rows = {line.split()[0]: line.split()[1:] for line in out.split("\n\n")[-1].splitlines()}

    assert rows["variable"] == ["section", "offset", "size", "type"]
    assert rows["d_u16"] == [".data", "4", "2", "u16"]
    assert rows["d_grid"] == [".data", "60", "12", "u16[2][3]"]
    assert rows["d_outer"][-2:] == ["struct", "outer"]
    assert "\n.bss.contexts\n  special: kptr to struct bpf_crypto_ctx at offset 0\n" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as data."""
    answer = as_json(capsys, "layouts")
    found = {each["name"]: each for each in answer["maps"]}
    variables = {each["name"]: each for each in answer["variables"]}

    assert list(answer) == ["maps", "variables", "warnings"]
    assert found["m_hash"]["type"] == "HASH"
    assert (found["m_hash"]["key_size"], found["m_hash"]["value_size"], found["m_hash"]["max_entries"]) == (8, 24, 4)
    assert found["m_hash"]["key"]["name"] == "struct inner"
    assert found["m_hash"]["key"]["layout"][1] == "    u8 a;  /* 0 1 */"
    assert list(found["m_array"]["value"]["inside"]) == ["struct inner", "struct bits"]
    assert found[".bss"]["data_section"]
    assert variables["key"]["type"]["name"] == "struct inner"
    assert (variables["in"]["section"], variables["in"]["offset"], variables["in"]["size"]) == (".bss", 152, 152)


def test_special_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Kptrs and locks are listed with their places."""
    shared = next(each for each in as_json(capsys, "cpus")["maps"] if each["name"] == "m_shared")

    assert shared["special_fields"] == [{"kind": "bpf_spin_lock", "offset": 0, "size": 4, "type": "bpf_spin_lock"}]


def test_maps_of_maps(capsys: pytest.CaptureFixture[str]) -> None:
    """A map of maps shows the template of its inner maps, and what its slots hold at first."""
    out = printed(capsys, "maps_nested")
    outer = next(each for each in as_json(capsys, "maps_nested")["maps"] if each["name"] == "arrays")

    assert "inner map, ARRAY" in out
    assert outer["inner"]["type"] == "ARRAY"
    assert set(outer["slots"].values()) <= {"first", "second"}
    assert outer["slots"]


def test_doubts_are_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str], compile_bpf: Any) -> None:
    """A kptr that the kernel takes for plain bytes is said to be one."""
    source = """
        #include "vmlinux.h"
        #include <bpf/bpf_helpers.h>
        struct value { struct bpf_crypto_ctx __attribute__((btf_type_tag("kptr_ref"))) *old; };
        struct {
            __uint(type, BPF_MAP_TYPE_ARRAY);
            __uint(max_entries, 1);
            __type(key, int);
            __type(value, struct value);
        } slots SEC(".maps");
        SEC("tc") int p(void *ctx) { int key = 0; return bpf_map_lookup_elem(&slots, &key) != 0; }
    """
    path = tmp_path / "doubtful.bpf.o"
    path.write_bytes(compile_bpf(source))

    assert main(["maps", str(path)]) == 0
    out, err = capsys.readouterr()
    assert main(["maps", str(path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)

    assert "special" not in out
    assert "warning: map 'slots': 'kptr_ref' pointer 'old' at offset 0 of the value is plain bytes to the kernel" in err
    assert [each in err for each in answer["warnings"]] == [True]
    assert answer["maps"][0]["special_fields"] == []


@pytest.mark.parametrize("path", sorted([*BPF.glob("*.bpf.o")]), ids=lambda path: path.name.removesuffix(".bpf.o"))
def test_every_object_of_the_corpus(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the types, there is text and there is JSON."""
    spec = load_spec(path.read_bytes())

    assert main(["maps", str(path)]) == 0
    out = capsys.readouterr().out

    json.dumps(
        [*(map_dict(spec, m) for m in spec.maps.values()), *(variable_dict(spec, v) for v in spec.variables.values())]
    )
    assert all(name in out for name in (*spec.maps, *spec.variables))


def test_an_object_without_maps(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to show is said."""
    from bpfcrypto.cli.maps import show
    from bpfcrypto.spec import CollectionSpec

    show(CollectionSpec("empty"))

    assert capsys.readouterr().out == "no maps\n"
