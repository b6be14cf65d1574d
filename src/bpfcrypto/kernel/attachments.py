"""What is attached where: asked of the interfaces, since the kernel does not tell a link's namespace.

A program counts as attached where an interface runs it; links and pins are then found by their numbers. Programs without a link (of
clsact filters, or XDP put there over netlink) are shown too, and so are pins whose link is off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bpfcrypto.abi.hooks import HOOKS, Hook
from bpfcrypto.errors import BpfCryptoError, LinkError
from bpfcrypto.kernel import bpf, clsact, netns, pin
from bpfcrypto.kernel.info import program_info
from bpfcrypto.kernel.interfaces import Interface, interfaces
from bpfcrypto.kernel.links import LinkInfo, interface_links, link_info

MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A program on a hook of an interface.

    Attributes:
        netns: the namespace's name or path, "" for the caller's own; None where it is in none that was looked at.
        interface: its name; "" where that is not known, or the link is off.
        ifindex: its index; 0 where the link is off.
        hook: where on it; None for the XDP link of an interface that was not looked at.
        kind: ``link``, ``filter`` of clsact, or ``program``: XDP without a link.
        link: the link's number, 0 without one.
        program: the program's number.
        name: the program's name, at most 15 characters.
        pinned: where the link is pinned; for a filter, the name that stands in for a pin; None without one.
    """

    netns: str | None
    interface: str
    ifindex: int
    hook: Hook | None
    kind: str
    link: int
    program: int
    name: str
    pinned: Path | None = None

    @property
    def attached(self) -> bool:
        return self.ifindex != 0


def attachments(others: Iterable[str] = ()) -> tuple[Attachment, ...]:
    """All programs on interfaces, those of each hook in the order in which they run.

    Args:
        others: namespaces to look at besides the caller's own and those with a name.

    Raises:
        LinkError: one of ``others`` does not exist.
        PrivilegeError: looking around needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
        NotSupportedError: pyroute2 is missing.
    """
    links = {info.id: info for info in interface_links()}
    pins = dict(_pins())
    found: list[Attachment] = []
    for where, there in _namespaces(others):
        found += [replace(each, netns=where) for each in netns.within(there, lambda: list(_here(links)))]
    seen = {each.link for each in found}
    found += [_elsewhere(info) for number, info in sorted(links.items()) if number not in seen]
    return tuple(replace(each, pinned=pins.get(each.link)) if each.link else each for each in found)


def _namespaces(others: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """What each namespace is called, and what enters it; each once, and the caller's own first."""
    seen = {netns.identity(None)}
    yield "", None
    for name in others:
        if (number := netns.identity(name)) not in seen:
            seen.add(number)
            yield name, name
    for name in netns.names():
        try:
            number = netns.identity(name)
        except LinkError:  # it went
            continue
        if number not in seen:
            seen.add(number)
            yield name, name


def _pins() -> Iterator[tuple[int, Path]]:
    """The numbers of pinned links, in every BPF file system that is mounted here."""
    roots = {line.split()[1] for line in MOUNTS.read_text().splitlines() if line.split()[2] == "bpf"}
    for root in sorted(roots):
        for folder, _, files in os.walk(root):
            for name in files:
                path = Path(folder, name)
                try:
                    with bpf.obj_get(path) as fd:
                        if pin.kind_of(fd) == "link":
                            yield link_info(fd).id, path
                except BpfCryptoError:  # it went, or is none of ours to open
                    continue


def _here(links: dict[int, LinkInfo]) -> Iterator[Attachment]:
    """What is on the interfaces of the calling thread's namespace."""
    for each in interfaces():
        for hook, program in each.xdp.items():
            # the same program may be on interfaces of that index in several namespaces: then which link is which is not known
            fitting = [info.id for info in links.values() if (info.program, info.ifindex) == (program, each.index)]
            link = fitting[0] if len(fitting) == 1 else 0
            yield _on(each, hook, "link" if link else "program", link, program)
        for hook in (Hook.INGRESS, Hook.EGRESS):
            for program, link in _tcx(each, hook):
                yield _on(each, hook, "link" if link else "program", link, program)
        for filtered in clsact.filters(each.index):
            yield replace(_on(each, filtered.hook, "filter", 0, filtered.program), pinned=filtered.pinned)


def _tcx(each: Interface, hook: Hook) -> tuple[tuple[int, int], ...]:
    return bpf.prog_query(each.index, HOOKS[hook].attach_type) if clsact.has_tcx() else ()


def _on(each: Interface, hook: Hook, kind: str, link: int, program: int) -> Attachment:
    return Attachment("", each.name, each.index, hook, kind, link, program, _name(program))


def _elsewhere(info: LinkInfo) -> Attachment:
    hooks = {HOOKS[hook].attach_type: hook for hook in (Hook.INGRESS, Hook.EGRESS)}
    hook = next((hook for number, hook in hooks.items() if number == info.attach_type), None)
    return Attachment(None, "", info.ifindex, hook, "link", info.id, info.program, _name(info.program))


def _name(program: int) -> str:
    try:
        with bpf.prog_get_fd_by_id(program) as fd:
            return program_info(fd).name
    except BpfCryptoError:  # it went
        return ""
