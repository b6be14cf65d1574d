"""``bpfcrypto run --dump-maps``: contents of maps by type, and what kptrs hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bpfcrypto.cli.dump import HIDDEN, dump, to_dict
from bpfcrypto.cli.main import main
from bpfcrypto.cli.values import to_text
from support.captures import pcap_header, pcap_record

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine

BPF = Path(__file__).parents[1] / "bpf"
FRAME = bytes(78)
BOTH = ["embedded", pytest.param("kernel", marks=pytest.mark.kernel)]


def run(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    assert main(["run", str(BPF / f"{name}.bpf.o"), "--data", FRAME.hex(), "--dump-maps", *arguments]) == 0
    return capsys.readouterr().out


def tables(printed: str) -> dict[str, list[str]]:
    """The lines of each map's part, by the map's name."""
    _, *parts = printed.split("\n\n")
    return {part.partition(":")[0].strip(): part.strip("\n").splitlines()[1:] for part in parts}


def contents(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> dict[str, Any]:
    return json.loads(run(capsys, name, *arguments, "--json"))["maps"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("engine", BOTH)
def test_a_context(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """The embedded engine names the cipher and counts references; of the kernel's kptrs nothing is claimed."""
    arguments = ("-p", "use", "--setup", "rotate", "--engine", engine)
    told = "context: ecb(aes), 1 reference" if engine == "embedded" else HIDDEN

    shown = tables(run(capsys, "rotation", *arguments))
    as_json = contents(capsys, "rotation", *arguments)

    assert shown["m_slot"] == ["key  value", f"0    {{cctx: <{told}>, version: 1}}"]
    assert shown["m_hash"] == ["  no elements"]
    assert as_json["m_slot"] == {
        "type": "ARRAY",
        "elements": [{"key": 0, "value": {"cctx": told, "version": 1}}],
        "zero": 0,
    }


def test_references_are_counted(embedded_engine: Engine) -> None:
    """A context in two maps has two references, and an empty slot says so; the cipher is told and the key is not."""
    with embedded_engine.load(BPF / "rotation.bpf.o") as collection:
        for name in ("rotate", "keep"):
            collection.programs[name].run()
        collection.maps["m_lru"].typed[3] = {"version": 7}
        shown = {each.name: to_dict(each) for each in dump(collection)}
        texts = [to_text(value) for each in dump(collection) for _, values in each.elements for value in values]

    slots = [shown[name]["elements"][0]["value"]["cctx"] for name in ("m_slot", "m_hash", "m_lru")]  # type: ignore[index]
    assert slots == ["context: ecb(aes), 2 references", "context: ecb(aes), 2 references", "empty"]
    assert texts[0] == "{cctx: <context: ecb(aes), 2 references>, version: 1}"


@pytest.mark.parametrize("engine", BOTH)
def test_values_of_each_cpu(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """A per-CPU value is one line, or one item, for each CPU; elements that are all zero are counted."""
    arguments = ("-p", "own_counters", "--repeat", "3", "--engine", engine)

    shown = tables(run(capsys, "cpus", *arguments))["m_own"]
    as_json = contents(capsys, "cpus", *arguments)["m_own"]

    assert shown[0].split() == ["key", "cpu", "value"]
    assert [line.split()[:2] for line in shown[1:-1]] == [["0", str(cpu)] for cpu in range(len(shown) - 2)]
    assert sum("{runs: 3, low: 9, sum: 3}" in line for line in shown) == 1
    assert shown[-1] == "  3 elements are zero"
    [element] = as_json["elements"]
    assert {"runs": 3, "low": 9, "sum": 3} in element["values"]
    assert (element["key"], as_json["zero"]) == (0, 3)


@pytest.mark.parametrize("engine", BOTH)
def test_variables_that_hold_contexts(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """A data section with a kptr is shown too, since its variable tells nothing."""
    shown = contents(capsys, "variables", "-p", "use_held", "--setup", "hold", "--engine", engine)

    told = "context: cbc(aes), 1 reference" if engine == "embedded" else HIDDEN
    assert shown == {
        ".bss.contexts": {"type": "ARRAY", "elements": [{"key": 0, "value": {"held": told}}], "zero": 0},
    }


@pytest.mark.parametrize("engine", BOTH)
def test_maps_without_plain_elements(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    """Program arrays and maps of maps show names, ring buffers their records; where nothing can be read, why."""
    programs = contents(capsys, "tail_calls", "-p", "hop", "--engine", engine)["next"]
    nested = contents(capsys, "maps_nested", "-p", "in_array", "--engine", engine)
    records = contents(capsys, "ringbuf", "-p", "output", "--engine", engine)["ring"]
    filters = contents(capsys, "maps_keyless", "-p", "do_queue", "--engine", engine)
    samples = contents(capsys, "events", "-p", "output_tc", "--engine", engine)["samples"]

    assert {"key": 3, "value": "program 'hop'"} in programs["elements"]
    assert "map 'first'" in [each["value"] for each in nested["arrays"]["elements"]]
    assert [each["key"] for each in records["elements"]] == [0]
    assert "cannot be read" in filters["m_bloom"]["why"]
    assert samples["type"] == "PERF_EVENT_ARRAY"


@pytest.mark.parametrize("engine", BOTH)
def test_a_queue_shows_what_comes_next(engine: str, request: pytest.FixtureRequest) -> None:
    """A queue cannot be listed, but its next value can be looked at without taking it out."""
    opened: Engine = request.getfixturevalue(f"{engine}_engine")
    with opened.load(BPF / "maps_keyless.bpf.o", programs=["do_queue"]) as collection:
        queue = collection.maps["m_queue"]
        queue.update(b"", bytes([7]).ljust(queue.value_bytes, b"\0"))
        shown = [each for each in dump(collection) if each.name in ("m_queue", "m_stack")]
        again = queue.lookup(b"")

    assert [len(each.elements) for each in shown] == [1, 0]
    assert to_text(shown[0].elements[0][0]) == "next"
    assert again[0] == 7


def test_after_a_capture(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With --write - the contents go where the table goes, to standard error."""
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap_header() + pcap_record(FRAME))
    arguments = ["run", str(BPF / "cpus.bpf.o"), "-p", "hash_counters", "--pcap", str(path), "--dump-maps"]

    assert main([*arguments, "--write", "-"]) == 0
    err = capfd.readouterr().err
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)

    assert "\nm_hash: HASH\nkey  value\n0    1\n" in err
    assert answer["maps"]["m_hash"]["elements"] == [{"key": 0, "value": 1}]


def test_without_the_option_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Maps are shown on request only."""
    assert main(["run", str(BPF / "cpus.bpf.o"), "-p", "hash_counters", "--data", FRAME.hex(), "--json"]) == 0

    assert "maps" not in json.loads(capsys.readouterr().out)


def test_what_programs_print(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of bpf_trace_printk go to standard error, results alone to standard output."""
    assert main(["run", str(BPF / "helpers.bpf.o"), "-p", "trace", "--data", FRAME.hex()]) == 0

    out, err = capsys.readouterr()
    assert err.splitlines() == ["bpfcrypto test", "-7 and 7", "ff 10000000000 -1", "x %"]
    assert "-7 and 7" not in out
