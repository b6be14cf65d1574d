"""Links: attached or nothing, pinned or gone; where they may go, in which order, and what is said otherwise."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfcrypto.abi.hooks import HOOKS, Hook
from bpfcrypto.embedded.engine import EmbeddedEngine
from bpfcrypto.errors import BpfCryptoError, LinkError, NotSupportedError, SyscallError
from bpfcrypto.kernel import bpf, clsact, netns
from bpfcrypto.kernel.attachments import Attachment
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.interfaces import interface, interfaces
from bpfcrypto.kernel.links import KernelLink
from bpfcrypto.link import Attachable, Link, Order
from support.lab import delete_interface, veth

pytestmark = pytest.mark.kernel

PROGRAMS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_kfuncs.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} next SEC(".maps");

SEC("tc") int one(struct __sk_buff *skb) { return -1; }
SEC("tc") int two(struct __sk_buff *skb) { return -1; }
SEC("tc") int three(struct __sk_buff *skb) { return -1; }
SEC("tc/egress") int out(struct __sk_buff *skb) { return -1; }
SEC("tcx/ingress") int in(struct __sk_buff *skb) { return -1; }
SEC("xdp") int pass(struct xdp_md *xdp) { return XDP_PASS; }
SEC("xdp") int other(struct xdp_md *xdp) { return XDP_PASS; }
SEC("xdp") int shrink(struct xdp_md *xdp) { bpf_xdp_adjust_tail(xdp, -4); return XDP_PASS; }
SEC("xdp") int jump(struct xdp_md *xdp) { bpf_tail_call(xdp, &next, 0); return XDP_PASS; }
SEC("xdp") int pull(struct xdp_md *xdp) { bpf_xdp_pull_data(xdp, 20); return XDP_PASS; }
SEC("syscall") int setup(void *args) { return 0; }
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def programs(compile_bpf: Callable[..., bytes]) -> Iterator[KernelCollection]:
    with KernelEngine() as engine, engine.load(compile_bpf(PROGRAMS)) as collection:
        yield collection


@pytest.fixture
def network() -> Iterator[str]:
    with veth() as name:
        yield name


def on(network: str, name: str, hook: Hook) -> list[int]:
    """The numbers of the programs that an interface runs, asked of the kernel without what is under test."""

    def ask() -> list[int]:
        target = interface(name)
        if HOOKS[hook].parent:
            return [program for program, _ in bpf.prog_query(target.index, HOOKS[hook].attach_type)]
        return [target.xdp[hook]] if hook in target.xdp else []

    return netns.within(network, ask)


def ours(network: str) -> list[Attachment]:
    """What ``attachments`` says of a namespace."""
    with KernelEngine() as engine:
        return [each for each in engine.attachments() if each.netns == network]


FITTING = [("one", Hook.INGRESS), ("one", Hook.EGRESS), ("pass", Hook.XDP), ("pass", Hook.XDP_GENERIC)]


@pytest.mark.parametrize(("program", "hook"), FITTING)
def test_unpinned_links_go_with_their_last_holder(
    network: str, programs: KernelCollection, program: str, hook: Hook
) -> None:
    """Attached while it is open, off once it is closed."""
    with programs.programs[program].attach("a", hook, netns=network) as link:
        assert on(network, "a", hook) == [programs.programs[program].id]
        assert link.attached
        assert link.pinned is None
        (said,) = ours(network)
        assert (said.interface, said.hook, said.kind, said.link) == ("a", hook, "link", link.id)
        assert (said.program, said.name, said.pinned) == (programs.programs[program].id, program, None)

    assert on(network, "a", hook) == []
    assert ours(network) == []


@pytest.mark.parametrize(("program", "hook"), FITTING)
def test_pinned_links_stay_until_they_are_detached(
    network: str, programs: KernelCollection, bpf_directory: Path, program: str, hook: Hook
) -> None:
    """A pinned link outlives whoever made it; detaching takes program and pin."""
    pin = bpf_directory / "link"
    programs.programs[program].attach("a", hook, netns=network, pin=pin).close()

    assert on(network, "a", hook) == [programs.programs[program].id]
    assert [each.pinned for each in ours(network)] == [pin]
    with KernelEngine() as engine, engine.open_link(pin) as link:
        assert link.attached
        assert link.pinned == pin
        link.detach()
    assert on(network, "a", hook) == []
    assert not pin.exists()


@pytest.mark.parametrize(("old", "new", "hook"), [("one", "two", Hook.EGRESS), ("pass", "other", Hook.XDP)])
def test_replacing_keeps_link_and_pin(
    network: str, programs: KernelCollection, bpf_directory: Path, old: str, new: str, hook: Hook
) -> None:
    """The same link runs the other program: nothing was taken off in between."""
    pin = bpf_directory / "link"
    with programs.programs[old].attach("a", hook, netns=network, pin=pin) as first:
        number = first.id
    with programs.programs[new].attach("a", hook, netns=network, pin=pin, replace=True) as second:
        assert second.id == number
        assert on(network, "a", hook) == [programs.programs[new].id]
        second.detach()


def test_a_pin_that_is_taken_is_refused(network: str, programs: KernelCollection, bpf_directory: Path) -> None:
    """Without ``replace`` nothing changes, and the message says what to do."""
    pin = bpf_directory / "link"
    with programs.programs["one"].attach("a", Hook.EGRESS, netns=network, pin=pin) as link:
        with pytest.raises(LinkError, match="link already") as caught:
            programs.programs["two"].attach("a", Hook.EGRESS, netns=network, pin=pin)
        assert "--replace" in str(caught.value.hint)
        assert on(network, "a", Hook.EGRESS) == [programs.programs["one"].id]
        link.detach()


@pytest.mark.parametrize(
    ("program", "name", "hook"), [("two", "b", Hook.EGRESS), ("two", "a", Hook.INGRESS), ("pass", "a", Hook.XDP)]
)
def test_a_pin_of_another_place_is_not_replaced(
    network: str, programs: KernelCollection, bpf_directory: Path, program: str, name: str, hook: Hook
) -> None:
    """``replace`` is for the same hook of the same interface."""
    pin = bpf_directory / "link"
    with programs.programs["one"].attach("a", Hook.EGRESS, netns=network, pin=pin) as link:
        with pytest.raises(LinkError, match="another place"):
            programs.programs[program].attach(name, hook, netns=network, pin=pin, replace=True)
        assert len(ours(network)) == 1
        link.detach()


def test_another_namespace_is_another_place(programs: KernelCollection, bpf_directory: Path) -> None:
    """Interfaces of one name and index in two namespaces are told apart, which their links do not do."""
    pin = bpf_directory / "link"
    with veth() as first, veth() as second, programs.programs["pass"].attach("a", netns=first, pin=pin) as link:
        with pytest.raises(LinkError, match="another place"):
            programs.programs["other"].attach("a", netns=second, pin=pin, replace=True)
        assert on(first, "a", Hook.XDP) == [programs.programs["pass"].id]
        assert on(second, "a", Hook.XDP) == []
        link.detach()


def test_twins_are_not_guessed(programs: KernelCollection, bpf_directory: Path) -> None:
    """One XDP program on interfaces of one index in two namespaces: which link is which nobody can tell, so none is replaced."""
    pin, one = bpf_directory / "link", programs.programs["pass"]
    with (
        veth() as first,
        veth() as second,
        one.attach("a", netns=first, pin=pin) as link,
        one.attach("a", netns=second) as twin,
    ):
        with pytest.raises(LinkError, match="may be a link to an interface of another namespace"):
            programs.programs["other"].attach("a", netns=second, pin=pin, replace=True)
        assert on(first, "a", Hook.XDP) == on(second, "a", Hook.XDP) == [one.id]
        with KernelEngine() as engine:
            said = engine.attachments()
        assert [(each.link, each.pinned) for each in said if each.netns in (first, second)] == [(0, None)] * 2
        unknown = {each.link: each.pinned for each in said if each.netns is None}
        assert unknown.items() >= {link.id: pin, twin.id: None}.items()
        link.detach()


def test_a_link_whose_interface_went_is_taken_over(
    network: str, programs: KernelCollection, bpf_directory: Path
) -> None:
    """Its pin stands for nothing: it is shown as off, cannot be used, and the next start takes its name."""
    pin = bpf_directory / "link"
    with veth() as gone:
        dead = programs.programs["one"].attach("a", Hook.EGRESS, netns=gone, pin=pin)
        delete_interface(gone, "a")
        assert not dead.attached
        with KernelEngine() as engine:
            (said,) = [each for each in engine.attachments() if each.pinned == pin]
            assert not said.attached
        assert isinstance(dead, KernelLink)
        with pytest.raises(LinkError) as caught:
            dead.replace(programs.programs["two"])
        assert "attach anew" in str(caught.value.hint)
        dead.close()

    with programs.programs["one"].attach("a", Hook.EGRESS, netns=network, pin=pin, replace=True) as link:
        assert link.attached
        assert [each.pinned for each in ours(network)] == [pin]
        link.detach()


def test_order_among_the_programs_of_a_hook(network: str, programs: KernelCollection) -> None:
    """Behind all by default; first, and beside another link, by ``order``."""
    p = {name: program.id for name, program in programs.programs.items()}
    with (
        programs.programs["one"].attach("a", Hook.INGRESS, netns=network) as one,
        programs.programs["two"].attach("a", Hook.INGRESS, netns=network) as two,
    ):
        assert on(network, "a", Hook.INGRESS) == [p["one"], p["two"]]
        for order, expected in (
            (Order(), ["three", "one", "two"]),
            (Order(one, before=False), ["one", "three", "two"]),
            (Order(two), ["one", "three", "two"]),
            (Order(two, before=False), ["one", "two", "three"]),
            (Order(before=False), ["one", "two", "three"]),
        ):
            with programs.programs["three"].attach("a", Hook.INGRESS, netns=network, order=order):
                assert on(network, "a", Hook.INGRESS) == [p[name] for name in expected]
                assert [each.name for each in ours(network)] == expected
        with pytest.raises(LinkError) as caught:
            programs.programs["three"].attach("a", Hook.EGRESS, netns=network, order=Order(one))
        assert "next to" in str(caught.value.hint)
    with pytest.raises(LinkError, match="no order"):
        programs.programs["pass"].attach("a", netns=network, order=Order())


@pytest.mark.parametrize(("program", "hook"), [("out", Hook.EGRESS), ("in", Hook.INGRESS), ("pass", Hook.XDP)])
def test_sections_name_hooks(network: str, programs: KernelCollection, program: str, hook: Hook) -> None:
    """Without a hook it goes where its section says."""
    with programs.programs[program].attach("a", netns=network):
        assert on(network, "a", hook) == [programs.programs[program].id]


REFUSED = [
    ("one", None, "a", LinkError, "does not say", "ingress or egress"),
    ("one", Hook.XDP, "a", LinkError, "of type SCHED_CLS", "ingress or egress"),
    ("pass", Hook.EGRESS, "a", LinkError, "of type XDP", "xdp or xdp-generic"),
    ("setup", None, "a", LinkError, "of type SYSCALL", "bpfcrypto run"),
    ("one", Hook.EGRESS, "nope", LinkError, "no interface 'nope'", "'a'"),
    ("shrink", Hook.XDP_GENERIC, "a", NotSupportedError, "bpf_xdp_adjust_tail", "hook 'xdp'"),
    ("jump", Hook.XDP_GENERIC, "a", NotSupportedError, "bpf_tail_call", "hook 'xdp'"),
    ("pull", Hook.XDP_GENERIC, "a", NotSupportedError, "bpf_xdp_pull_data", "hook 'xdp'"),
    ("pass", Hook.XDP, "lo", NotSupportedError, "native XDP", "xdp-generic"),
]


@pytest.mark.parametrize(("program", "hook", "name", "kind", "words", "hint"), REFUSED)
def test_refusals_say_what_to_do_and_leave_nothing(
    network: str,
    programs: KernelCollection,
    bpf_directory: Path,
    program: str,
    hook: Hook | None,
    name: str,
    kind: type[BpfCryptoError],
    words: str,
    hint: str,
) -> None:
    """Each is an error of its kind with a hint; no pin, and nothing on any interface."""
    before = set(bpf_directory.iterdir())

    with pytest.raises(kind, match=words) as caught:
        programs.programs[program].attach(name, hook, netns=network, pin=bpf_directory / "link")

    assert hint in str(caught.value.hint)
    assert set(bpf_directory.iterdir()) == before
    assert ours(network) == []


@pytest.mark.parametrize(
    ("there", "wanted", "words"),
    [
        (Hook.XDP, Hook.XDP, "another XDP"),
        (Hook.XDP, Hook.XDP_GENERIC, "other mode"),
        (Hook.XDP_GENERIC, Hook.XDP, "other mode"),
    ],
)
def test_a_busy_xdp_mode(network: str, programs: KernelCollection, there: Hook, wanted: Hook, words: str) -> None:
    """One program in one mode at a time; the message tells busy from the other mode."""
    with programs.programs["pass"].attach("a", there, netns=network):
        with pytest.raises(LinkError) as caught:
            programs.programs["other"].attach("a", wanted, netns=network)
        assert words in str(caught.value.hint)
        assert on(network, "a", there) == [programs.programs["pass"].id]


def test_generic_xdp_keeps_its_rule_when_replacing(
    network: str, programs: KernelCollection, bpf_directory: Path
) -> None:
    """What may not be attached there may not come by way of ``replace`` either, nor from a pin that hides its calls."""
    with programs.programs["pass"].attach("a", Hook.XDP_GENERIC, netns=network) as link:
        assert isinstance(link, KernelLink)
        with pytest.raises(NotSupportedError, match="adjust_tail"):
            link.replace(programs.programs["shrink"])
        assert on(network, "a", Hook.XDP_GENERIC) == [programs.programs["pass"].id]
    programs.programs["pass"].pin(bpf_directory / "program")
    with KernelEngine() as engine:
        pinned = engine.open_program(bpf_directory / "program")
        with pytest.raises(NotSupportedError, match="not known"):
            pinned.attach("a", Hook.XDP_GENERIC, netns=network)
        with pinned.attach("a", Hook.XDP, netns=network):
            assert on(network, "a", Hook.XDP) == [pinned.id]
        pinned.close()


def test_a_place_that_is_no_place_for_pins(network: str, programs: KernelCollection, tmp_path: Path) -> None:
    """The program is off again when it cannot be pinned."""
    with pytest.raises(SyscallError) as caught:
        programs.programs["one"].attach("a", Hook.EGRESS, netns=network, pin=tmp_path / "link")

    assert "BPF file system" in str(caught.value.hint)
    assert on(network, "a", Hook.EGRESS) == []


@pytest.mark.parametrize(("name", "words"), [("no-such", "no network namespace"), ("/etc/passwd", "is not a network")])
def test_namespaces_that_are_none(programs: KernelCollection, name: str, words: str) -> None:
    """A name that does not exist, and a file that is something else."""
    with pytest.raises(LinkError, match=words) as caught:
        programs.programs["one"].attach("a", Hook.EGRESS, netns=name)
    assert "ip netns add" in str(caught.value.hint)


def test_other_threads_stay_where_they_are(network: str) -> None:
    """A visit to a namespace happens in a thread of its own: no other one, the caller included, is ever there."""
    seen: set[tuple[int, int]] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add(netns.identity(None))

    home, watcher = netns.identity(None), threading.Thread(target=look)
    watcher.start()
    inside = {netns.within(network, lambda: netns.identity(None)) for _ in range(200)}
    stop.set()
    watcher.join()

    assert inside == {netns.identity(network)}
    assert seen == {home} == {netns.identity(None)}
    assert home not in inside


def test_a_namespace_by_path(network: str) -> None:
    """A file that stands for a namespace does as well as its name."""
    path = f"/run/netns/{network}"

    assert {each.name for each in netns.within(path, interfaces)} == {"lo", "a", "b"}
    assert netns.identity(path) == netns.identity(network)


def test_only_kernel_programs_are_attachable(programs: KernelCollection) -> None:
    """The embedded engine's programs have no ``attach`` that only raises."""
    with EmbeddedEngine() as embedded, embedded.load(programs.spec) as collection:
        assert not embedded.capabilities.can_attach
        assert not isinstance(collection.programs["one"], Attachable)
    assert isinstance(programs.programs["one"], Attachable)


def test_without_pyroute2(programs: KernelCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that is missing is named, with the command that brings it."""
    monkeypatch.setitem(sys.modules, "pyroute2", None)

    with pytest.raises(NotSupportedError, match="pyroute2") as caught:
        programs.programs["one"].attach("lo", Hook.EGRESS)
    assert caught.value.hint == "pip install 'bpfcrypto[net]'"


def test_ordinary_users_are_told_what_is_missing(network: str, unprivileged: Callable[..., str]) -> None:
    """Entering a namespace and looking around need capabilities, which the error names."""
    code = """
from bpfcrypto.errors import PrivilegeError
from bpfcrypto.kernel import netns
for call in (lambda: netns.within(sys.argv[1], int), lambda: bpfcrypto.kernel.engine.KernelEngine().attachments()):
    try:
        call()
    except PrivilegeError as error:
        print(error, "|", error.hint)
"""
    first, second = unprivileged(code, network).splitlines()
    assert "CAP_SYS_ADMIN is missing" in first
    assert "run as root" in first
    assert "CAP_SYS_ADMIN is missing" in second


def test_descriptors_are_closed_after_refusals(
    network: str, programs: KernelCollection, bpf_fds: Callable[[], dict[str, str]], bpf_directory: Path
) -> None:
    """No link lingers in this process after an error."""
    before = bpf_fds()
    pin = bpf_directory / "link"
    with programs.programs["pass"].attach("a", netns=network, pin=pin) as link:
        held = bpf_fds()
        for arguments in ({}, {"pin": pin}, {"pin": bpf_directory / "no/where"}):
            with pytest.raises(BpfCryptoError):
                programs.programs["other"].attach("a", netns=network, **arguments)
        with pytest.raises(LinkError):
            programs.programs["other"].attach("b", netns=network, pin=pin, replace=True)
        assert bpf_fds() == held
        link.detach()
    assert bpf_fds() == before


# -- clsact -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_tcx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without TCX, as far as we look."""
    assert clsact.has_tcx()
    monkeypatch.setattr(clsact, "has_tcx", lambda: False)


def qdiscs(network: str) -> list[str]:
    def ask() -> list[str]:
        from pyroute2 import IPRoute

        with IPRoute() as request:
            return [each.get_attr("TCA_KIND") for each in request.get_qdiscs(index=interface("a").index)]

    return netns.within(network, ask)


PIN = Path("/sys/fs/bpf/bpfcrypto-test")


@pytest.mark.usefixtures("no_tcx")
def test_filters_stand_in_for_links(network: str, programs: KernelCollection) -> None:
    """Attached under the pin's name, replaced in place, found again, and gone with the qdisc when detached."""
    before = qdiscs(network)
    one, two = programs.programs["one"], programs.programs["two"]
    link: Link = one.attach("a", Hook.EGRESS, netns=network, pin=PIN)
    assert link.attached
    assert [(each.kind, each.program, each.pinned, each.hook) for each in ours(network)] == [
        ("filter", one.id, PIN, Hook.EGRESS)
    ]
    with pytest.raises(LinkError, match="link already"):
        two.attach("a", Hook.EGRESS, netns=network, pin=PIN)

    two.attach("a", Hook.EGRESS, netns=network, pin=PIN, replace=True)
    assert [each.program for each in ours(network)] == [two.id]
    assert not link.attached

    with KernelEngine() as engine:
        engine.open_link(PIN).detach()
        with pytest.raises(SyscallError):
            engine.open_link(PIN)
    assert ours(network) == []
    assert qdiscs(network) == before


@pytest.mark.usefixtures("no_tcx")
def test_filters_run_their_programs_in_order(network: str, programs: KernelCollection) -> None:
    """Priorities give the order that links have, and a qdisc stays while there is a filter."""
    p = programs.programs
    one = p["one"].attach("a", Hook.INGRESS, netns=network, pin=PIN)
    two = p["two"].attach("a", Hook.INGRESS, netns=network, pin=PIN.with_name("two"))
    for order, expected in ((Order(), ["three", "one", "two"]), (None, ["one", "two", "three"])):
        three = p["three"].attach("a", Hook.INGRESS, netns=network, pin=PIN.with_name("three"), order=order)
        assert [each.name for each in ours(network)] == expected
        three.detach()
    with pytest.raises(LinkError, match="no priority"):
        p["three"].attach("a", Hook.INGRESS, netns=network, pin=PIN.with_name("three"), order=Order(two))
    with pytest.raises(LinkError, match="next to"):
        p["three"].attach("a", Hook.EGRESS, netns=network, pin=PIN.with_name("three"), order=Order(one))
    one.detach()
    assert "clsact" in qdiscs(network)
    two.detach()
    assert "clsact" not in qdiscs(network)


@pytest.mark.usefixtures("no_tcx")
def test_filters_need_a_pin(network: str, programs: KernelCollection) -> None:
    """A filter does not go with its process, so a link that should is refused."""
    with pytest.raises(NotSupportedError, match="TCX") as caught:
        programs.programs["one"].attach("a", Hook.EGRESS, netns=network)
    assert "--pin" in str(caught.value.hint)
    assert "clsact" not in qdiscs(network)


@pytest.mark.usefixtures("no_tcx")
def test_a_refused_filter_leaves_no_qdisc(network: str, programs: KernelCollection) -> None:
    """The qdisc that was made for it goes as well: a name that the kernel finds too long is refused behind it."""
    with pytest.raises(LinkError, match="clsact"):
        programs.programs["one"].attach("a", Hook.EGRESS, netns=network, pin=Path("/sys/fs/bpf", "x" * 300))
    assert "clsact" not in qdiscs(network)
