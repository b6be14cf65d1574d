"""Links: programs on the hooks of interfaces, and the names that keep them there.

A link is in one of three states, and no crash puts it into a fourth. The kernel removes a program when the last descriptor or pin of its
link goes, so the order of steps is what keeps a promise: attached or nothing, pinned or gone.

- attaching: link, then pin. Killed in between, the process drops the only descriptor, and the program is off.
- replacing: one BPF_LINK_UPDATE. The pin is not touched, and each packet meets the old program or the new one.
- detaching: unpin, then detach. Killed in between, the process drops the only descriptor; the program is off some milliseconds later.

Where the kernel has no TCX, :mod:`~bpfcrypto.kernel.clsact` stands in.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bpfcrypto.abi.hooks import HOOKS, Hook, LinkType, OrderFlag
from bpfcrypto.abi.progs import AttachType
from bpfcrypto.errors import BpfCryptoError, LinkError, NotSupportedError, SyscallError
from bpfcrypto.kernel import attr, bpf, clsact, pin
from bpfcrypto.kernel.generic_xdp import require_safe
from bpfcrypto.kernel.interfaces import Interface, interface
from bpfcrypto.kernel.netns import Netns, within

if TYPE_CHECKING:
    from bpfcrypto.kernel.clsact import FilterLink
    from bpfcrypto.kernel.fd import Fd
    from bpfcrypto.kernel.program import KernelProgram
    from bpfcrypto.link import Order


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link.

    Attributes:
        id: its number.
        type: its kind's number; LinkType has those of interfaces.
        program: its program's number.
        ifindex: the interface, in a namespace that the kernel does not tell; 0 once it is off, by force or since that is gone.
        attach_type: of TCX links, which hook; else 0.
    """

    id: int
    type: int
    program: int
    ifindex: int
    attach_type: int


def link_info(fd: Fd) -> LinkInfo:
    """Ask about a link."""
    fields = attr.LINK_INFO.unpack(bpf.obj_get_info(fd, attr.LINK_INFO))
    on_interface = fields["type"] in set(LinkType)
    return LinkInfo(
        id=fields["id"],
        type=fields["type"],
        program=fields["prog_id"],
        ifindex=fields["ifindex"] if on_interface else 0,
        attach_type=fields["attach_type"] if fields["type"] == LinkType.TCX else 0,
    )


def interface_links() -> Iterator[LinkInfo]:
    """All links of interfaces, in every namespace (needs CAP_SYS_ADMIN)."""
    for number in bpf.link_ids():
        try:
            with bpf.link_get_fd_by_id(number) as fd:
                info = link_info(fd)
        except BpfCryptoError:  # it went
            continue
        if info.type in set(LinkType):
            yield info


class KernelLink:
    """A program on an interface. Without a pin, ``close()`` takes it off.

    Args:
        fd: the link, which from now on belongs to this object.
        hook: where it is; None for an XDP link that was opened by its pin, whose mode the kernel does not tell.
        pinned: its pin.
    """

    def __init__(self, fd: Fd, hook: Hook | None, pinned: Path | None = None) -> None:
        self.fd = fd
        self._hook = hook
        self._pinned = pinned

    def __repr__(self) -> str:
        return f"<KernelLink at {self._hook or 'xdp'}{f', pinned as {self._pinned}' if self._pinned else ''}>"

    @property
    def id(self) -> int:
        """Its number in this kernel."""
        return self.info.id

    @property
    def info(self) -> LinkInfo:
        """What the kernel says of it now."""
        return link_info(self.fd)

    @property
    def attached(self) -> bool:
        """Whether it is on an interface: not after ``detach()`` by anyone, nor after the interface went."""
        return self.info.ifindex != 0

    @property
    def pinned(self) -> Path | None:
        """Its name in a BPF file system, which keeps the program attached without a process."""
        return self._pinned

    def replace(self, program: KernelProgram) -> None:
        """Another program in its place; every packet meets the old one or the new one.

        Raises:
            LinkError: the program is of another type, or the link is off.
            NotSupportedError: the program would corrupt packets there.
        """
        hook = self._hook or Hook.XDP_GENERIC  # of an unknown mode, take the one with more rules
        require_fit(program, hook)
        try:
            bpf.link_update(self.fd, program.fd)
        except SyscallError as error:
            raise _refused(error, f"program '{program.name}' cannot replace the one of this link", hook) from None

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give it a name in a BPF file system: it stays attached when this process ends.

        Raises:
            LinkError: it has one already.
            PinError: the path exists, its directory does not, or it is not in a BPF file system.
        """
        if self._pinned is not None:
            raise LinkError(f"the link is pinned as '{self._pinned}' already", errno=errno.EEXIST)
        place = pin.place(path)
        pin.pin(self.fd, place)
        self._pinned = place

    def detach(self) -> None:
        """Take the program off the interface, and the pin away, for everybody who holds the link."""
        if self._pinned is not None:
            self._pinned.unlink(missing_ok=True)
            self._pinned = None
        with suppress(SyscallError):  # ENOLINK and the like: it is off already
            bpf.link_detach(self.fd)
        self.close()

    def close(self) -> None:
        """Give up this process's hold; does nothing the second time."""
        self.fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_link(path: str | os.PathLike[str], netns: Netns = None) -> KernelLink | FilterLink:
    """Open a pinned link.

    Args:
        path: its pin; a name without a slash is one in /sys/fs/bpf.
        netns: where to look for it on kernels without TCX, besides the caller's namespace and those with a name.

    Raises:
        PinError: nothing is pinned there, or something else.
        LinkError: the link is not one of an interface.
    """
    try:
        return _open_pinned(path)
    except SyscallError as error:
        found = clsact.find(pin.place(path), netns) if error.errno == errno.ENOENT and not clsact.has_tcx() else None
        if found is None:
            raise
        return found


def _open_pinned(path: str | os.PathLike[str]) -> KernelLink:
    place = pin.place(path)
    fd = pin.open_pinned(place, "link")
    try:
        info = link_info(fd)
        if info.type not in set(LinkType):
            raise LinkError(f"'{place}' is a link of another kind (number {info.type})", errno=errno.EINVAL)
    except BpfCryptoError:
        fd.close()
        raise
    hooks = {HOOKS[hook].attach_type: hook for hook in (Hook.INGRESS, Hook.EGRESS)}
    return KernelLink(fd, hooks.get(AttachType(info.attach_type)) if info.attach_type else None, place)


def attach(
    program: KernelProgram,
    interface_name: str,
    hook: Hook | None = None,
    *,
    netns: Netns = None,
    pinned: str | os.PathLike[str] | None = None,
    order: Order | None = None,
    replace: bool = False,
) -> KernelLink | FilterLink:
    """Put a program on an interface; see :meth:`bpfcrypto.link.Attachable.attach`."""
    hook = hook or hook_of(program)
    require_fit(program, hook)
    if order is not None and HOOKS[hook].link is not LinkType.TCX:
        raise LinkError("XDP has one program in each mode: there is no order", errno=errno.EINVAL)
    place = pin.place(pinned) if pinned is not None else None
    old = _existing(place, replace=replace) if place is not None else None
    where = f"network namespace '{netns}'" if netns is not None else "this network namespace"

    def put() -> KernelLink | FilterLink:
        target = interface(interface_name, where)
        if HOOKS[hook].parent and not clsact.has_tcx():
            return clsact.attach(program, target, hook, netns=netns, pinned=place, order=order, replace=replace)
        if old is not None and old.attached:
            _require_same(old, target, hook, where)
            link = KernelLink(old.fd, hook, place)
            link.replace(program)
            return link
        return KernelLink(_create(program, target, hook, order), hook)

    try:
        link = within(netns, put)
    except BpfCryptoError:
        if old is not None:
            old.close()
        raise
    if place is None or link.pinned is not None:
        return link
    try:
        if old is not None:  # its link is off, so the pin stands for nothing
            place.unlink(missing_ok=True)
            old.close()
        link.pin(place)
    except BaseException:
        link.detach()
        raise
    return link


def hook_of(program: KernelProgram) -> Hook:
    """The hook that a program's section names.

    Raises:
        LinkError: it names none.
    """
    for hook, facts in HOOKS.items():
        if facts.program is program.type and facts.attach_type is program.spec.attach_type:
            return hook
    fitting = [hook.value for hook, facts in HOOKS.items() if facts.program is program.type]
    if not fitting:
        require_fit(program, Hook.INGRESS)
    raise LinkError(
        f"program '{program.name}': its section '{program.spec.section}' does not say where it belongs",
        errno=errno.EINVAL,
        hint=f"choose a hook: {' or '.join(fitting)}",
    )


def require_fit(program: KernelProgram, hook: Hook) -> None:
    """Refuse a program that cannot run at a hook, or must not.

    Raises:
        LinkError: it is of another type.
        NotSupportedError: it would corrupt packets there.
    """
    facts = HOOKS[hook]
    if program.type is not facts.program:
        fitting = " or ".join(each for each, rest in HOOKS.items() if rest.program is program.type)
        raise LinkError(
            f"program '{program.name}' is of type {program.type.name}; at hook '{hook}' run programs of type {facts.program.name}",
            errno=errno.EINVAL,
            hint=f"it fits: {fitting}" if fitting else "it cannot be attached to interfaces; run it ('bpfcrypto run')",
        )
    if hook is Hook.XDP_GENERIC:
        require_safe(program)


def _existing(place: Path, *, replace: bool) -> KernelLink | None:
    """The link that is pinned there, which the new one is to replace."""
    try:
        found = _open_pinned(place)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    if replace:
        return found
    found.close()
    raise clsact.taken(place)


def _require_same(old: KernelLink, target: Interface, hook: Hook, where: str) -> None:
    """Refuse to replace the program of a link that is somewhere else. The kernel tells no namespace, so the interface is asked."""
    info, facts = old.info, HOOKS[hook]
    if facts.link is LinkType.XDP:
        there = info.type == LinkType.XDP and target.xdp.get(hook) == info.program and info.ifindex == target.index
        alike = (info.type, info.program, info.ifindex)
        if there and sum((each.type, each.program, each.ifindex) == alike for each in interface_links()) > 1:
            raise LinkError(
                f"'{old.pinned}' may be a link to an interface of another namespace, which has the same program and index",
                errno=errno.EEXIST,
                hint="detach it and attach anew; load a program once for each of its interfaces",
            )
    else:
        there = info.attach_type == facts.attach_type and info.id in {
            link for _, link in bpf.prog_query(target.index, facts.attach_type)
        }
    if not there:
        raise LinkError(
            f"'{old.pinned}' is a link to another place than hook '{hook}' of interface '{target.name}' in {where}",
            errno=errno.EEXIST,
            hint="'bpfcrypto links' shows where; detach it, or choose another pin",
        )


def _create(program: KernelProgram, target: Interface, hook: Hook, order: Order | None) -> Fd:
    facts = HOOKS[hook]
    flags: int = facts.flags
    relative = None
    if order is not None:
        flags = OrderFlag.BEFORE if order.before else OrderFlag.AFTER
        if order.link is not None:
            if not isinstance(order.link, KernelLink):
                raise LinkError("the link that it is to stand next to is not at this hook", errno=errno.ENOENT)
            relative, flags = order.link.fd, flags | OrderFlag.LINK
    try:
        return bpf.link_create(program.fd, target.index, facts.attach_type, flags=flags, relative=relative)
    except SyscallError as error:
        what = f"program '{program.name}' cannot be attached at hook '{hook}' of interface '{target.name}'"
        raise _refused(error, what, hook) from None


_BUSY = "another XDP program is there: 'bpfcrypto links' shows which; 'bpfcrypto detach' its pin, or replace it there"
_HINTS: dict[tuple[LinkType, int], str] = {
    (LinkType.XDP, errno.EBUSY): _BUSY,
    (
        LinkType.XDP,
        errno.EEXIST,
    ): f"the interface has a program in the other mode, and takes one mode at a time; {_BUSY}",
    (
        LinkType.XDP,
        errno.ERANGE,
    ): "frames may be too long for XDP there: lower the MTU on both ends, or use section 'xdp.frags'",
    (
        LinkType.XDP,
        errno.EINVAL,
    ): "the driver refuses: its MTU, queues or features may not go with XDP ('dmesg' may say which)",
    (LinkType.XDP, errno.ENOTCONN): "the other end of this veth pair is gone",
    (LinkType.TCX, errno.EEXIST): "this very program is attached there already",
    (LinkType.TCX, errno.ENOENT): "the link that it is to stand next to is not at this hook",
    (LinkType.TCX, errno.ERANGE): "the hook has all the programs that it can hold",
}
_NO_LINK = "the link is off: it was detached, or its interface is gone; attach anew"


def _refused(error: SyscallError, what: str, hook: Hook) -> BpfCryptoError:
    number = error.errno or 0
    if number == errno.EOPNOTSUPP and hook is Hook.XDP:
        return NotSupportedError(
            "native XDP", requires="a driver that has it", hint=f"{what}; hook 'xdp-generic' works on every interface"
        )
    hint = _NO_LINK if number == errno.ENOLINK else _HINTS.get((HOOKS[hook].link, number), error.hint)
    return LinkError(f"{what}: {error}", errno=number, hint=hint)
