"""What counters have grown by between two reports, although SAs come and go and their slots begin at zero again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.report import Report, SaReport

_Identity: TypeAlias = tuple[int, bool, int]
_NOTHING: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Step:
    """What has come since the report before.

    Attributes:
        associations: by slot, packets by verdict and bytes.
        unmatched: packets that no SA was found for, by verdict.
        seconds: between the reports; 0 for the first one.
    """

    associations: Mapping[int, tuple[Mapping[str, int], int]]
    unmatched: Mapping[str, int]
    seconds: float


@dataclass(slots=True)
class Growth:
    """Takes one report after the other. An SA that was not there before has grown from zero.

    What is seen of a slot is kept until another SA is in it, so that one that is missing in a report is not counted twice.
    """

    _seen: dict[int, tuple[_Identity, Mapping[str, int], int]] = field(default_factory=dict)
    _unmatched: Mapping[str, int] = field(default_factory=dict)
    _taken_ns: int | None = None

    def step(self, report: Report) -> Step:
        """What has come since the last call, or altogether for the first one."""
        grown = {each.slot: self._grown(each) for each in report.associations}
        unmatched = _difference(report.unmatched, self._unmatched)
        seconds = 0.0 if self._taken_ns is None else (report.taken_ns - self._taken_ns) / 1e9
        self._unmatched, self._taken_ns = report.unmatched, report.taken_ns
        return Step(grown, unmatched, seconds)

    def _grown(self, each: SaReport) -> tuple[Mapping[str, int], int]:
        held = each.association
        identity = (held.spi, held.outbound, held.installed_ns)
        former, packets, size = self._seen.get(each.slot, (identity, _NOTHING, 0))
        self._seen[each.slot] = (identity, each.packets, each.bytes)
        if former != identity or _has_restarted(each.packets, packets) or each.bytes < size:
            return each.packets, each.bytes
        return _difference(each.packets, packets), each.bytes - size


def _has_restarted(now: Mapping[str, int], before: Mapping[str, int]) -> bool:
    return any(now.get(name, 0) < count for name, count in before.items())


def _difference(now: Mapping[str, int], before: Mapping[str, int]) -> Mapping[str, int]:
    if _has_restarted(now, before):
        return now
    return {name: grown for name, count in now.items() if (grown := count - before.get(name, 0))}
