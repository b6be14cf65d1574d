"""``bpfcrypto doctor``: what works here, what does not, why, and what to do.

Everything is found by trying. The answers are gathered as one plain value first; printing it, as JSON or for people, adds nothing.
"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

import click

from bpfcrypto import __version__
from bpfcrypto.cli.kfuncs import show
from bpfcrypto.cli.render import console, print_json, print_table
from bpfcrypto.errors import BpfCryptoError, NotSupportedError

if TYPE_CHECKING:
    from bpfcrypto.engine import Engine

ENGINES = ("embedded", "kernel")
PACKAGES = ("click", "cryptography", "llvmlite", "pyelftools", "pyroute2", "rich", "ziglang")
CRYPTO_KFUNCS = (
    "bpf_crypto_ctx_create",
    "bpf_crypto_ctx_acquire",
    "bpf_crypto_ctx_release",
    "bpf_crypto_encrypt",
    "bpf_crypto_decrypt",
)


@click.command()
@click.option("--kfuncs", is_flag=True, help="List every kfunc: which engine has it, and why not.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(kfuncs: bool, as_json: bool) -> None:
    """Say what works on this machine, what is missing, and what to do.

    Both engines are asked for the crypto kfuncs and for a context of each cipher; nothing is left behind.
    """
    if kfuncs:
        show(as_json=as_json)
        return
    report = examine()
    if as_json:
        print_json(report)
    else:
        _print(report)


def examine() -> dict[str, Any]:
    """The whole report, in values that JSON knows."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _package(name) for name in PACKAGES},
        "compiler": _compiler(),
        "kernel": _kernel(),
        "engines": {name: _engine(name) for name in ENGINES},
    }


def _package(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _compiler() -> dict[str, Any]:
    from bpfcrypto.cc import find_compiler

    try:
        return {"name": find_compiler().name}
    except NotSupportedError as error:
        return {"name": None, **_why(error)}


def _kernel() -> dict[str, Any] | None:
    """What the kernel engine depends on; None where the system is no Linux."""
    if sys.platform != "linux":
        return None
    from pathlib import Path

    from bpfcrypto.kernel import privilege

    return {
        "capabilities": sorted(privilege.effective()),
        "missing_capabilities": list(privilege.missing("CAP_BPF", "CAP_NET_ADMIN")),
        "btf": Path("/sys/kernel/btf/vmlinux").exists(),
    }


def _engine(name: str) -> dict[str, Any]:
    from bpfcrypto.runtime import open_engine

    try:
        with open_engine(name) as engine:
            return {"available": True, **_abilities(engine)}
    except BpfCryptoError as error:
        return {"available": False, **_why(error)}


def _abilities(engine: Engine) -> dict[str, Any]:
    from bpfcrypto.abi import errno

    able = engine.capabilities
    try:
        from bpfcrypto.context.ciphers import probe

        ciphers: dict[str, Any] = {
            cipher: "ok" if number == 0 else errno.text(number) for cipher, number in probe(engine).items()
        }
        refusal: dict[str, Any] = {}
    except BpfCryptoError as error:
        ciphers, refusal = {}, _why(error)
    return {
        "crypto_kfuncs": {name: name in able.kfuncs for name in CRYPTO_KFUNCS},
        "kfuncs": sorted(able.kfuncs),
        "helpers": sorted(able.helpers),
        "program_types": sorted(able.prog_types),
        "map_types": sorted(able.map_types),
        "can_attach": able.can_attach,
        "jit": able.jit,
        "why_not": dict(able.why_not or {}),
        "ciphers": ciphers,
        **refusal,
    }


def _why(error: BpfCryptoError) -> dict[str, str]:
    return {"error": str(error), **({"hint": error.hint} if error.hint else {})}


def _print(report: dict[str, Any]) -> None:
    rows: list[tuple[str, str, str]] = [
        ("bpfcrypto", "ok", report["version"]),
        ("Python", "ok", f"{report['python']} on {report['platform']}"),
        ("packages", "ok", ", ".join(f"{name} {version}" for name, version in report["packages"].items() if version)),
    ]
    compiler = report["compiler"]
    rows.append(("BPF C compiler", *(("ok", compiler["name"]) if compiler["name"] else ("no", _advice(compiler)))))
    if (kernel := report["kernel"]) is not None:
        missing = ", ".join(kernel["missing_capabilities"])
        rows.append(
            ("capabilities", "no" if missing else "ok", f"missing: {missing}" if missing else "all that are needed")
        )
        rows.append(("kernel types (BTF)", "ok" if kernel["btf"] else "no", "/sys/kernel/btf/vmlinux"))
    for name, engine in report["engines"].items():
        rows += _engine_rows(name, engine)
    print_table(("what", "", "details"), rows)
    usable = [name for name in ENGINES if report["engines"][name].get("ciphers")]
    console().print(f"\nprograms with crypto kfuncs run on: {', '.join(usable) or 'nothing here'}")


def _engine_rows(name: str, engine: dict[str, Any]) -> list[tuple[str, str, str]]:
    title = f"{name} engine"
    if not engine["available"]:
        return [(title, "no", _advice(engine))]
    if not engine["program_types"]:
        return [(title, "no", "; ".join(engine["why_not"].values()))]
    kfuncs = engine["crypto_kfuncs"]
    absent = [kfunc for kfunc, there in kfuncs.items() if not there]
    counts = f"{len(engine['kfuncs'])} kfuncs, {len(engine['helpers'])} helpers, {len(engine['map_types'])} map types"
    rows = [
        (title, "ok", f"{', '.join(engine['program_types'])}; {counts}"),
        ("  crypto kfuncs", "no" if absent else "ok", ", ".join(absent) if absent else f"all {len(kfuncs)}"),
    ]
    if engine["jit"]:
        rows.append(("  machine code", "ok", ""))
    if engine.get("error"):
        rows.append(("  ciphers", "no", _advice(engine)))
    for cipher, answer in engine["ciphers"].items():
        rows.append((f"  {cipher}", "ok" if answer == "ok" else "no", "" if answer == "ok" else answer))
    rows += [(f"  {what}", "no", why) for what, why in engine["why_not"].items()]
    return rows


def _advice(part: dict[str, Any]) -> str:
    return "; ".join(part[key] for key in ("error", "hint") if part.get(key))
