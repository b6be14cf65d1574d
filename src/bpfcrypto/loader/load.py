"""The loader's entry: an ELF object's bytes in, its blueprint out.

Reading order: the container (``elf``), what each section is for (``sections``), the types (``types``), maps and variables (``maps``,
``data``), functions (``functions``), what they refer to (``reloc``), and programs with their subprograms (``link``). Nothing here
knows a kernel: the same bytes give an equal spec on every machine.
"""

from __future__ import annotations

from bpfcrypto.btf.ext import SECTION as EXT_SECTION
from bpfcrypto.btf.ext import BtfExt, read_ext
from bpfcrypto.btf.types import Btf
from bpfcrypto.errors import ElfError, ObjectError
from bpfcrypto.loader.data import data_maps, variables
from bpfcrypto.loader.elf import ElfObject, read_elf
from bpfcrypto.loader.functions import Function, Place, bodies, describe
from bpfcrypto.loader.kconfig import kconfig_map, read_kconfig
from bpfcrypto.loader.legacy_maps import read_legacy_maps
from bpfcrypto.loader.link import link
from bpfcrypto.loader.maps import read_maps
from bpfcrypto.loader.reloc import Scope, references, unfilled
from bpfcrypto.loader.sections import Role, roles
from bpfcrypto.loader.types import read_types
from bpfcrypto.spec import CollectionSpec, MapSpec, ProgramSpec


def load_spec(data: bytes, source: str = "<bytes>") -> CollectionSpec:
    """Read an object file.

    Args:
        data: the bytes of an ELF64 little-endian BPF object, as clang 14 to 22 write them.
        source: the file's name, for messages and the spec.

    Returns:
        Everything the object defines. CO-RE relocations, kfuncs and map addresses are kept as data.

    Raises:
        ObjectError: the object cannot be used; the message names the file, section and offset. No other error comes out of
            this function, whatever the bytes.
    """
    try:
        return _load(bytes(data), source)
    except ObjectError as error:
        error.source = source
        raise


def _load(data: bytes, source: str) -> CollectionSpec:
    elf = read_elf(data, source)
    purpose = roles(elf)
    btf = read_types(elf)
    placed = (*read_maps(elf, btf), *read_legacy_maps(elf))
    sections = list(data_maps(elf, purpose, btf))
    configured = read_kconfig(elf, btf)
    maps: dict[str, MapSpec] = {}
    hidden = (kconfig_map(configured),) if configured else ()
    for spec in (*(each.spec for each in placed), *(spec for _, spec in sections), *hidden):
        if spec.name in maps:
            raise ElfError(f"two maps are called '{spec.name}'", source=source)
        maps[spec.name] = spec
    externs = {each.name: each.offset for each in configured}
    scope = Scope(elf, purpose, btf, placed, bodies(elf, purpose), externs)
    functions = _functions(scope, btf, _ext(elf, btf), source)
    return CollectionSpec(
        source=source,
        license=_license(elf, purpose),
        btf=btf,
        programs=_programs(functions, source),
        maps=maps,
        variables=variables(elf, [section for section, _ in sections], btf),
        kconfig=configured,
        left_out=tuple(section.name for section in elf.sections if purpose[section.index] is Role.LEFT_OUT),
        unfilled=tuple(unfilled(scope)),
    )


def _ext(elf: ElfObject, btf: Btf | None) -> BtfExt:
    section = elf.by_name.get(EXT_SECTION)
    if section is None or btf is None or not section.size:
        return BtfExt()
    return read_ext(section.data, btf, source=elf.source)


def _license(elf: ElfObject, purpose: dict[int, Role]) -> str:
    for section in elf.sections:
        if purpose[section.index] is Role.LICENSE:
            text = section.data.split(b"\0", 1)[0]
            try:
                return text.decode()
            except UnicodeDecodeError:
                raise ElfError("the licence is not text", source=elf.source, section=section.name, offset=0) from None
    return ""


def _functions(scope: Scope, btf: Btf | None, ext: BtfExt, source: str) -> dict[Place, Function]:
    known = references(scope)
    return {place: describe(body, btf, ext, *known[place], source) for place, body in scope.bodies.items()}


def _programs(functions: dict[Place, Function], source: str) -> dict[str, ProgramSpec]:
    programs: dict[str, ProgramSpec] = {}
    for function in functions.values():
        if function.is_program:
            if function.info.name in programs:
                raise ElfError(f"two programs are called '{function.info.name}'", source=source)
            programs[function.info.name] = link(function, functions, source)
    return programs
