"""BPF programs with crypto kfuncs: load and run clang-compiled objects on any machine, or on the real kernel.

    >>> import bpfcrypto
    >>> with bpfcrypto.open_engine("embedded") as engine:
    ...     with engine.load("examples/crypto_packets.bpf.o") as collection:
    ...         print(*collection.programs)
    setup encrypt decrypt xdp_encrypt xdp_decrypt

The names below are the public interface, with those of :mod:`bpfcrypto.capture`. Each is imported from its module on first use, since
a command such as ``bpfcrypto --help`` needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfcrypto.abi.hooks import Hook as Hook
    from bpfcrypto.capture import create_capture as create_capture
    from bpfcrypto.capture import open_capture as open_capture
    from bpfcrypto.capture import replay as replay
    from bpfcrypto.cc import compile_source as compile_source
    from bpfcrypto.context import CryptoContext as CryptoContext
    from bpfcrypto.engine import Capabilities as Capabilities
    from bpfcrypto.engine import Checker as Checker
    from bpfcrypto.engine import Collection as Collection
    from bpfcrypto.engine import Engine as Engine
    from bpfcrypto.engine import EventMap as EventMap
    from bpfcrypto.engine import FilterMap as FilterMap
    from bpfcrypto.engine import Map as Map
    from bpfcrypto.engine import MapOfMaps as MapOfMaps
    from bpfcrypto.engine import PerfEvent as PerfEvent
    from bpfcrypto.engine import Program as Program
    from bpfcrypto.engine import QueueMap as QueueMap
    from bpfcrypto.engine import Redirect as Redirect
    from bpfcrypto.engine import RedirectTarget as RedirectTarget
    from bpfcrypto.engine import RingMap as RingMap
    from bpfcrypto.engine import RunResult as RunResult
    from bpfcrypto.engine import UserRingMap as UserRingMap
    from bpfcrypto.engine import Verdict as Verdict
    from bpfcrypto.errors import BpfCryptoError as BpfCryptoError
    from bpfcrypto.errors import CaptureError as CaptureError
    from bpfcrypto.errors import CompileError as CompileError
    from bpfcrypto.errors import ConfigError as ConfigError
    from bpfcrypto.errors import ContextError as ContextError
    from bpfcrypto.errors import InternalError as InternalError
    from bpfcrypto.errors import KeyNotFoundError as KeyNotFoundError
    from bpfcrypto.errors import LinkError as LinkError
    from bpfcrypto.errors import MapError as MapError
    from bpfcrypto.errors import NotSupportedError as NotSupportedError
    from bpfcrypto.errors import ObjectError as ObjectError
    from bpfcrypto.errors import PinError as PinError
    from bpfcrypto.errors import PrivilegeError as PrivilegeError
    from bpfcrypto.errors import RunError as RunError
    from bpfcrypto.errors import SyscallError as SyscallError
    from bpfcrypto.errors import VerifierError as VerifierError
    from bpfcrypto.link import Attachable as Attachable
    from bpfcrypto.link import Link as Link
    from bpfcrypto.link import Order as Order
    from bpfcrypto.loader.load import load_spec as load_spec
    from bpfcrypto.many import RunResults as RunResults
    from bpfcrypto.runtime import open_engine as open_engine
    from bpfcrypto.spec import CollectionSpec as CollectionSpec
    from bpfcrypto.views import TypedMap as TypedMap
    from bpfcrypto.views import Variable as Variable

__version__ = "0.1.0"

_HOMES = {
    "bpfcrypto.abi.hooks": "Hook",
    "bpfcrypto.capture": "create_capture open_capture replay",
    "bpfcrypto.cc": "compile_source",
    "bpfcrypto.context": "CryptoContext",
    "bpfcrypto.engine": (
        "Capabilities Checker Collection Engine EventMap FilterMap Map MapOfMaps PerfEvent "
        "Program QueueMap Redirect RedirectTarget RingMap RunResult UserRingMap Verdict"
    ),
    "bpfcrypto.errors": (
        "BpfCryptoError CaptureError CompileError ConfigError ContextError InternalError KeyNotFoundError LinkError "
        "MapError NotSupportedError ObjectError PinError PrivilegeError RunError SyscallError VerifierError"
    ),
    "bpfcrypto.link": "Attachable Link Order",
    "bpfcrypto.loader.load": "load_spec",
    "bpfcrypto.many": "RunResults",
    "bpfcrypto.runtime": "open_engine",
    "bpfcrypto.spec": "CollectionSpec",
    "bpfcrypto.views": "TypedMap Variable",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bpfcrypto' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
