"""ESP on a host: programs on its interfaces, everything pinned, and a control plane that finds it all again.

The order of the steps of :meth:`Deployment.up` keeps two promises wherever it is cut off: nothing that should be protected leaves in the
clear once anything is protected, and whoever calls it again ends up with the same, SAs and sequence numbers included.
"""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from errno import ENOENT, ESTALE
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bpfcrypto.errors import ConfigError, LinkError, PinError
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.kernel.netns import within
from bpfcrypto.programs.esp.control import Control
from bpfcrypto.programs.esp.deployment_record import Record
from bpfcrypto.programs.esp.dummy import Dummies
from bpfcrypto.programs.esp.epochs import EpochStore
from bpfcrypto.programs.esp.health import Health, hooks, look
from bpfcrypto.programs.esp.host import Host
from bpfcrypto.programs.esp.program import CONTROL_PROGRAMS, PACKET_PROGRAMS, EspProgram, spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bpfcrypto.kernel.collection import KernelCollection
    from bpfcrypto.kernel.netns import Netns
    from bpfcrypto.programs.esp.config_types import Config
    from bpfcrypto.programs.esp.control import Event

MAPS = tuple(name for name in spec().maps if name != "scratches")
"""What is pinned: everything but the memory for a packet, in which there may be one in the clear, and which each load has its own of."""


class Deployment:
    """What is up. Closing it lets go of it, and changes nothing.

    Args:
        config: the configuration.
        engine: the engine it is on.
        collection: the pinned maps, with at least the programs of the control plane.
        store: what must not be used twice, with the link's lock.
        netns: the namespace.
        mtu: of outer packets, bytes.
    """

    def __init__(
        self,
        config: Config,
        engine: KernelEngine,
        collection: KernelCollection,
        store: EpochStore,
        netns: Netns,
        mtu: int,
    ) -> None:
        self.config = config
        self.program = EspProgram(engine, collection)
        self._dummies = within(netns, lambda: Dummies(Host(config).entrance, lambda: self.program.settings.token))
        self.control = Control(config, self.program, store, mtu=mtu, dummy=self._dummies)
        self._engine = engine
        self._collection = collection
        self._netns = netns

    @classmethod
    def up(cls, config: Config, netns: Netns = None) -> tuple[Self, list[Event]]:
        """Bring ESP up as the configuration says, or what is up to what it says now.

        Args:
            config: the configuration.
            netns: the network namespace; None: the caller's.

        Returns:
            What is up, and what was done. Where an event has failed, its peer is not up, and what is for it is dropped.

        Raises:
            ConfigError: the interface takes less than the configuration says, something is up that has to be taken down first, or
                another control plane does not let go.
            LinkError: an interface is missing or in use.
            PinError: there is no BPF file system at ``[link] pins``.
            NotSupportedError, PrivilegeError: the kernel or this user cannot do it.
        """
        host, folder, store = Host(config), pins(config), _store(config)
        with store.locked(), ExitStack() as stack:
            former, record = _standing(config), Record.of(config)
            mtu = within(netns, host.outer_mtu)
            if former is None:
                record.write(config)
            engine, collection = _loaded(config, (*CONTROL_PROGRAMS, *PACKET_PROGRAMS), stack)
            _pin_maps(collection, folder)
            made = cls(config, engine, collection, store, netns, mtu)
            stack.callback(made._dummies.close)
            with made.control.session():
                if former is not None:
                    # Numbers of epochs and SPIs that were given mean nothing to each other.
                    for peer in former.explicit ^ record.explicit:
                        made.control.take_away(peer)
                    record.write(config)
                device = within(netns, lambda: host.make_device(mtu))
                before = made.program.settings
                wanted = replace(within(netns, lambda: host.settings(device)), token=before.token)
                # Where programs are at work, a default that lets more pass has to wait for the policies.
                made.program.settings = replace(wanted, default=before.default) if before.output else wanted
                # A peer that cannot be brought up keeps nothing of this from being done: what is for it is dropped.
                events = made.control.start()
                made.program.settings = replace(made.program.settings, default=wanted.default)
                # Receiving first, and protected prefixes before the routes that lead there.
                for name, interface, hook, order in hooks(config):
                    collection.programs[name].attach(
                        interface, hook, netns=netns, pin=folder / name, order=order, replace=True
                    ).close()
                within(netns, lambda: host.route(mtu))
                # From now on peers can hear of us.
                events += [event for event in made.control.tend() if event not in events]
            stack.pop_all()  # it stays open
        return made, events

    @classmethod
    def opened(cls, config: Config, netns: Netns = None) -> Self:
        """What is up already.

        Raises:
            LinkError: nothing is (ENOENT).
            ConfigError: it is not where the configuration says.
        """
        _standing(config)
        _require_up(config)
        mtu = within(netns, Host(config).outer_mtu)
        with ExitStack() as stack:
            engine, collection = _loaded(config, CONTROL_PROGRAMS, stack)
            made = cls(config, engine, collection, _store(config), netns, mtu)
            stack.pop_all()
        return made

    @staticmethod
    @contextmanager
    def looked_at(config: Config) -> Iterator[tuple[EspProgram, Health]]:
        """The maps of what is up, and what there is to worry about, for who changes nothing.

        Raises:
            LinkError: nothing is (ENOENT).
            ConfigError: the record of what is up is damaged.
        """
        record = Record.read(config)
        there, differences = (record.applied(config), record.differences(config)) if record else (config, ())
        _require_up(there)
        with ExitStack() as stack:
            engine, collection = _loaded(there, (), stack)
            health = look(engine, there, pins(there))
            yield EspProgram(engine, collection), replace(health, problems=(*health.problems, *differences))

    @staticmethod
    def down(config: Config, netns: Netns = None) -> None:
        """Take everything away, wherever it was put; what was protected goes in the clear from then on. Not an error if nothing is up.

        The epochs that were used stay on disk.
        """
        with _store(config).locked(), KernelEngine() as engine:
            record = Record.read(config)
            there = record.applied(config) if record is not None else config
            folder = pins(there)
            within(netns, Host(there).restore)
            for name in PACKET_PROGRAMS:
                if (folder / name).exists():
                    with engine.open_link(folder / name, netns) as link:
                        link.detach()
            for name in MAPS:
                (folder / name).unlink(missing_ok=True)
            if folder.exists():
                folder.rmdir()
            Record.forget(config)

    def health(self) -> Health:
        """Whether the programs are on their interfaces."""
        return look(self._engine, self.config, pins(self.config), self._netns)

    def require_current(self) -> None:
        """Make sure that the maps are those that programs work with.

        Raises:
            LinkError: ESP was taken down in the meantime (ENOENT), or brought up anew (ESTALE).
        """
        _require_up(self.config)
        with closing(self._engine.open_map(pins(self.config) / "sas")) as pinned:
            if pinned.id == self._collection.maps["sas"].id:
                return
        raise LinkError(
            f"ESP of link '{self.config.link.name}' was taken down and brought up anew in the meantime",
            errno=ESTALE,
            hint="start this command again",
        )

    def close(self) -> None:
        """Let go of it."""
        self._dummies.close()
        self._collection.close()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pins(config: Config) -> Path:
    """The folder of everything that is pinned."""
    return config.link.pins / f"esp-{config.link.name}"


def _store(config: Config) -> EpochStore:
    return EpochStore(config.link.state, config.link.name)


def _standing(config: Config) -> Record | None:
    """What is up of this link; None for nothing, or where nobody has kept a record.

    Raises:
        ConfigError: it is not where the configuration says.
    """
    record = Record.read(config)
    if record is None or not _is_pinned(record.applied(config)):
        return None
    if differences := record.differences(config):
        raise ConfigError(
            "; ".join(differences), source=str(config.source), hint=f"bpfcrypto esp down {config.source}, then up again"
        )
    return record


def _is_pinned(config: Config) -> bool:
    folder = pins(config)
    return folder.exists() and any(folder.iterdir())


def _require_up(config: Config) -> None:
    folder = pins(config)
    if not (folder / "sas").exists():
        raise LinkError(
            f"ESP of link '{config.link.name}' is not up: nothing is pinned in '{folder}'",
            errno=ENOENT,
            hint=f"bpfcrypto esp up {config.source}",
        )


def _loaded(config: Config, programs: Iterable[str], stack: ExitStack) -> tuple[KernelEngine, KernelCollection]:
    engine = stack.enter_context(KernelEngine())
    collection = stack.enter_context(
        engine.load(spec(), programs=programs, reuse={name: pins(config) / name for name in MAPS})
    )
    return engine, collection


def _pin_maps(collection: KernelCollection, folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise PinError(
            "BPF_OBJ_PIN", error.errno or 0, detail=f"'{folder}'", hint=f"mount -t bpf bpf '{folder.parent}'"
        ) from None
    for name in MAPS:
        if not (folder / name).exists():
            collection.maps[name].pin(folder / name)
