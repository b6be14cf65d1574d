"""bpf_for_each_map_elem as LLVM IR: a loop that calls the program's own function for each element.

A hash is walked as the kernel walks it, along the chains of one bucket after the other, without a lock. The way on is read before the
callback runs, which may delete the element that it was called for.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import RULES, MapType
from bpfcrypto.embedded.hash_index import HEAD_SIZE, element_size
from bpfcrypto.embedded.jit import lower_runtime
from bpfcrypto.embedded.jit.links import Link
from bpfcrypto.embedded.map_record import MapRecord
from bpfcrypto.embedded.map_values import round_up
from bpfcrypto.verifier.state import FuncTarget, MapTarget

if TYPE_CHECKING:
    from bpfcrypto.embedded.jit.lower import FunctionText
    from bpfcrypto.embedded.jit.text import Text
    from bpfcrypto.spec import MapSpec

_ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
_HASHES = frozenset({MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})


def each_element(text: Text, site: FunctionText) -> str | None:
    """The loop, where map and callback are known; the number of calls, an i64."""
    callback, target, facts = site.fact(2).target, site.fact(1).target, site.module.facts
    if facts is None or not isinstance(callback, FuncTarget) or not isinstance(target, MapTarget):
        return None
    spec = target.spec
    if site.module.maps.get(spec.name) is not spec or spec.type not in _ARRAYS | _HASHES:
        return None
    walk = _Walk(text, site, spec, facts.starts[callback.subprog])
    return walk.array() if spec.type in _ARRAYS else walk.hash()


class _Walk:
    """One call being written."""

    def __init__(self, text: Text, site: FunctionText, spec: MapSpec, start: int) -> None:
        self._text = text
        self._site = site
        self._spec = spec
        self._start = start
        self._map, self._context = text.integer(1), text.integer(3)
        self._record = site.linked(Link("map", spec.name))
        self._flagged = text.emit(f"icmp ne i64 {text.integer(4)}, 0")
        self._before = text.label
        self._values = text.emit(f"load ptr, ptr {self._place('values')}, align 8")
        if RULES[spec.type].percpu:
            slots = text.emit(f"load i64, ptr {self._place('slots')}, align 8")
            skipped = text.emit(f"mul i64 {lower_runtime.run_cpu(text, site)}, {slots}")
            self._values = text.offset(self._values, text.emit(f"mul i64 {skipped}, {round_up(spec.value_size)}"))

    def _place(self, field: str) -> str:
        return self._text.offset(self._record, getattr(MapRecord, field).offset)

    def _call(self, key: str, number: str, calls: tuple[str, str], repeat: str, done: str) -> str:
        """Call the function for an element, and go to ``done`` if it says so, else to ``repeat``; the block that does.

        ``calls`` are the names of the numbers of calls before and after.
        """
        text, site = self._text, self._site
        wide = text.emit(f"zext i32 {number} to i64")
        value = text.offset(self._values, text.emit(f"mul i64 {wide}, {round_up(self._spec.value_size)}"))
        given = [self._map, *(text.emit(f"ptrtoint ptr {each} to i64") for each in (key, value)), self._context]
        result = site.call_function(self._start, given[: site.module.graph.function(self._start).arguments])
        text.do(f"{calls[1]} = add i32 {calls[0]}, 1")
        ends = text.emit(f"icmp ne i64 {result}, 0")
        last = text.label
        text.do(f"br i1 {ends}, label %{done}, label %{repeat}")
        text.open(repeat)
        return last

    def _end(self, done: str, counts: str) -> str:
        text = self._text
        self._site.callees.append(self._start)
        text.open(done)
        calls = text.emit(f"phi i32 [ 0, %{self._before} ], {counts}")
        wide = text.emit(f"zext i32 {calls} to i64")
        return text.emit(f"select i1 {self._flagged}, i64 {-EINVAL}, i64 {wide}")

    def array(self) -> str:
        """Every index."""
        text = self._text
        head, body, done = (text.fresh_label() for _ in range(3))
        key = self._site.local(4)
        text.do(f"br i1 {self._flagged}, label %{done}, label %{head}")
        text.open(head)
        index, following, repeat = text.fresh(), text.fresh(), text.fresh_label()
        text.do(f"{index} = phi i32 [ 0, %{self._before} ], [ {following}, %{repeat} ]")
        inside = text.emit(f"icmp ult i32 {index}, {self._spec.max_entries}")
        text.do(f"br i1 {inside}, label %{body}, label %{done}")
        text.open(body)
        text.do(f"store i32 {index}, ptr {key}, align 4")
        last = self._call(key, index, (index, following), repeat, done)
        text.do(f"br label %{head}")
        return self._end(done, f"[ {index}, %{head} ], [ {following}, %{last} ]")

    def hash(self) -> str:
        """Bucket by bucket, along the chains."""
        text = self._text
        mask = text.emit(f"load i32, ptr {self._place('mask')}, align 4")
        table = text.emit(f"load ptr, ptr {self._place('table')}, align 8")
        elements = text.emit(f"load ptr, ptr {self._place('elements')}, align 8")
        head, enter, chain, body, leave, done = (text.fresh_label() for _ in range(6))
        bucket, next_bucket, calls, so_far, number, following, more = (text.fresh() for _ in range(7))
        repeat = text.fresh_label()
        text.do(f"br i1 {self._flagged}, label %{done}, label %{head}")
        text.open(head)
        text.do(f"{bucket} = phi i32 [ 0, %{self._before} ], [ {next_bucket}, %{leave} ]")
        text.do(f"{calls} = phi i32 [ 0, %{self._before} ], [ {so_far}, %{leave} ]")
        text.do(f"br i1 {text.emit(f'icmp ugt i32 {bucket}, {mask}')}, label %{done}, label %{enter}")
        text.open(enter)
        place = text.emit(f"getelementptr i32, ptr {table}, i64 {text.emit(f'zext i32 {bucket} to i64')}")
        first = text.emit(f"load atomic i32, ptr {place} acquire, align 4")
        text.do(f"br label %{chain}")
        text.open(chain)
        text.do(f"{number} = phi i32 [ {first}, %{enter} ], [ {following}, %{repeat} ]")
        text.do(f"{so_far} = phi i32 [ {calls}, %{enter} ], [ {more}, %{repeat} ]")
        text.do(f"br i1 {text.emit(f'icmp eq i32 {number}, 0')}, label %{leave}, label %{body}")
        text.open(body)
        slot = text.emit(f"sub i32 {number}, 1")
        at = text.emit(f"mul i64 {text.emit(f'zext i32 {slot} to i64')}, {element_size(self._spec.key_size)}")
        element = text.offset(elements, at)
        text.do(f"{following} = load atomic i32, ptr {element} acquire, align 4")
        last = self._call(text.offset(element, HEAD_SIZE), slot, (so_far, more), repeat, done)
        text.do(f"br label %{chain}")
        text.open(leave)
        text.do(f"{next_bucket} = add i32 {bucket}, 1")
        text.do(f"br label %{head}")
        return self._end(done, f"[ {calls}, %{head} ], [ {more}, %{last} ]")
