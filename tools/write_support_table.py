"""Writes docs/reference/support.md: what the embedded engine has, and what it refuses and why, from the tables in abi/.

python tools/write_support_table.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from bpfcrypto.abi.helpers import HELPERS  # noqa: E402
from bpfcrypto.abi.kfuncs import KFUNCS, Kfunc  # noqa: E402
from bpfcrypto.abi.maps import FIELD_TYPES, NOT_EMBEDDED, MapType  # noqa: E402
from bpfcrypto.abi.progs import OPEN_SECTIONS, SECTIONS, ProgType  # noqa: E402

PAGE = ROOT / "docs/reference/support.md"
LOADED = (ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.SYSCALL)
RELEASE = "6.18"
FREE_FIELDS = ("kptr", "kptr_untrusted", "percpu_kptr", "bpf_spin_lock", "bpf_res_spin_lock", "bpf_list_head", "bpf_rb_root", "bpf_refcount")  # fmt: skip

HEAD = f"""\
# What the embedded engine supports

<!-- Written by tools/write_support_table.py from the tables in src/bpfcrypto/abi; a test compares. -->

The tables follow Linux {RELEASE}: what is in them was found by loading programs and making maps there. What the embedded engine does not
have, it refuses when an object is loaded, by name and with the reason given here; nothing runs as if it did nothing. The kernel engine
has what the running kernel has.

Helpers have numbers, and the last of them came with Linux 6.2. A kernel with crypto kfuncs is 6.10 or later, so it has every helper and,
but for `ARENA` (6.9), every map type for years. kfuncs come and go with releases: their table says since when.
"""


def page() -> str:
    parts = [HEAD, programs(), maps(), fields(), helpers(), kfuncs()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


def programs() -> str:
    def sections(kind: ProgType) -> str:
        return " ".join(f"`{name}`" for name, section in SECTIONS.items() if section.type is kind)

    rows = [(f"`{kind.name}`", "yes", sections(kind)) for kind in LOADED]
    stems = " ".join(f"`{stem}`" for stem in OPEN_SECTIONS)
    others = ", ".join(f"`{kind.name}`" for kind in ProgType if kind not in (ProgType.UNSPEC, *LOADED))
    return (
        f"## Program types\n\n{table(('type', 'supported', 'sections'), rows)}\n"
        f"Names that begin with one of {stems} and go on with `/` or `_` mean the same: `tc/entry`, `xdp_pass`.\n\n"
        f"Not loaded, by neither engine: {others}. They call no crypto kfuncs. Objects that have them beside others are loaded without them.\n"
    )


def maps() -> str:
    kinds = [kind for kind in MapType if kind is not MapType.UNSPEC]
    rows = [(f"`{kind.name}`", f"no: {NOT_EMBEDDED[kind]}" if kind in NOT_EMBEDDED else "yes") for kind in kinds]
    supported = sum(kind not in NOT_EMBEDDED for kind in kinds)
    return f"## Map types\n\n{supported} of {len(kinds)}.\n\n{table(('type', 'supported'), rows)}"


def fields() -> str:
    def types(name: str) -> str:
        return " ".join(f"`{kind.name}`" for kind in MapType if kind in FIELD_TYPES[name] and kind not in NOT_EMBEDDED)

    rows = [(f"`{name}`", types(name) or "none") for name in FREE_FIELDS]
    return (
        "## Special fields of map values\n\n"
        "Where the kernel allows them, of the map types above. kptrs point to crypto contexts, CPU masks and objects of the program.\n\n"
        f"{table(('field', 'in'), rows)}\n"
        "`bpf_timer`, `bpf_wq` and `bpf_task_work` have no helpers and kfuncs to use them with: the embedded engine runs nothing after a "
        "program has returned.\n"
    )


def helpers() -> str:
    rows = [each for each in HELPERS.values() if each.types]
    yes = [each for each in rows if not each.reason]
    text = [
        "## Helpers\n",
        f"Of the {len(HELPERS)} helpers, {len(rows)} can be called by the program types above: {len(yes)} are supported, {len(rows) - len(yes)} refused.\n",
        table(("helper", "programs", "supported"), ((f"`{h.name}`", names(h.types), verdict(h.reason)) for h in rows)),
    ]
    return "\n".join(text)


def kfuncs() -> str:
    rows = [each for each in KFUNCS.values() if each.until is None]
    yes = [each for each in rows if not each.reason]
    text = [
        "## kfuncs\n",
        f"Linux {RELEASE} has {len(rows)} that the program types above can call: {len(yes)} are supported, {len(rows) - len(yes)} refused. "
        "`bpfcrypto doctor --kfuncs` prints the same beside what the running kernel has.\n",
        table(
            ("kfunc", "since", "programs", "supported"),
            ((f"`{k.name}`", releases(k), names(k.callers), verdict(k.reason)) for k in sorted_kfuncs()),
        ),
        "Refused, by reason:\n",
        table(("reason", "how many"), reasons()),
        limits(),
    ]
    return "\n".join(text)


def sorted_kfuncs() -> list[Kfunc]:
    return sorted(KFUNCS.values(), key=lambda kfunc: (bool(kfunc.reason), kfunc.name))


def reasons() -> Iterator[tuple[str, str]]:
    counts: dict[str, int] = {}
    for kfunc in KFUNCS.values():
        if kfunc.reason and kfunc.until is None:
            counts[kfunc.reason] = counts.get(kfunc.reason, 0) + 1
    for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        yield reason, str(count)


def limits() -> str:
    return """\
What is supported, with limits:

- `bpf_cast_to_kern_ctx`: of `struct sk_buff` the members `len`, `data_len`, `mark`, `priority`, `protocol`, `hash`, `queue_mapping`, `vlan_tci`,
  `vlan_proto`, `skb_iif`, `dev->ifindex`, `head`, `data`, `tail` and `network_header`; of `struct xdp_buff` all but the addresses behind `txq`.
  Any other member ends the run with an error that names it.
- `bpf_rdonly_cast`: where the kernel reads zeros, because nothing is at the address, the run ends with an error.
- Functions on text: a text ends with the memory that it is in; the kernel reads on into whatever is behind it.
- `bpf_copy_from_user`, `bpf_copy_from_user_str`, `bpf_probe_read_user_dynptr` and their kin read the buffers that the engine was given, and nothing else of
  the process.
- `bpf_probe_read_kernel_dynptr` reads the memory of the program's own collection: there is no other.
- A new object has zeros in it; the kernel's has whatever was there.
"""


def names(types: Iterable[ProgType]) -> str:
    found = set(types)
    return "all" if found == set(LOADED) else " ".join(f"`{kind.name}`" for kind in LOADED if kind in found)


def releases(kfunc: Kfunc) -> str:
    since = "{}.{}".format(*kfunc.since)
    return since if kfunc.until is None else f"{since}, until {'{}.{}'.format(*kfunc.until)}"


def verdict(reason: str) -> str:
    return f"no: {reason}" if reason else "yes"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if the page is not what the tables give"
    )
    arguments = parser.parse_args()
    text = page()
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    if arguments.check:
        print(f"{PAGE.relative_to(ROOT)}: differs from what the tables give; run: python tools/write_support_table.py")
        return 1
    PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
