"""Puts the running kernel's configuration into an object's ``extern ... __kconfig`` variables."""

from __future__ import annotations

import gzip
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi import kconfig
from bpfcrypto.errors import NotSupportedError
from bpfcrypto.loader.kconfig import SECTION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpfcrypto.spec import CollectionSpec

_RELEASE: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_MOST_PATCHES: Final = 255


def with_configuration(spec: CollectionSpec) -> CollectionSpec:
    """The object with the values of the running kernel.

    Raises:
        NotSupportedError: a variable that is not weak has no value here, or one that does not fit.
    """
    if not spec.kconfig:
        return spec
    values = _values()
    made = spec.maps[SECTION]
    data = bytearray(made.value_size)
    for each in spec.kconfig:
        value = values.get(each.name)
        if value is None:
            if each.weak:
                continue
            raise NotSupportedError(f"'{each.name}'", requires="a kernel that is configured with it")
        try:
            data[each.offset : each.offset + each.size] = kconfig.encode(value, each.size, is_char=each.is_char)
        except ValueError as error:
            raise NotSupportedError(f"'{each.name}' in {each.size} bytes", requires=str(error)) from None
    return replace(spec, maps={**spec.maps, SECTION: replace(made, data=bytes(data))})


def _values() -> Mapping[str, str]:
    release = os.uname().release
    found = {name: value for name, value in kconfig.VALUES.items() if not name.startswith("CONFIG_")}
    if match := _RELEASE.match(release):
        major, minor, patch = (int(part or 0) for part in match.groups())
        found[kconfig.KERNEL_VERSION] = str(major << 16 | minor << 8 | min(patch, _MOST_PATCHES))
    for line in _file(release).splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            found[name] = value
    return found


def _file(release: str) -> str:
    """The text of the configuration; "" where the kernel does not show it."""
    try:
        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    except OSError:
        pass
    try:
        return Path(f"/boot/config-{release}").read_text()
    except OSError:
        return ""
