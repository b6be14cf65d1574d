"""The helpers that the embedded engine has, by name; their contracts are in abi.helpers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfcrypto.embedded import (
    helpers_core,
    helpers_dynptr,
    helpers_each,
    helpers_event,
    helpers_header,
    helpers_map,
    helpers_percpu,
    helpers_queue,
    helpers_redirect,
    helpers_ringbuf,
    helpers_skb,
    helpers_skb_state,
    helpers_text,
    helpers_time,
    helpers_trace,
    helpers_user,
    helpers_xdp,
)

if TYPE_CHECKING:
    from bpfcrypto.embedded.state import Native

HELPERS: Mapping[str, Native] = {
    **helpers_core.NATIVES,
    **helpers_map.NATIVES,
    **helpers_queue.NATIVES,
    **helpers_ringbuf.NATIVES,
    **helpers_time.NATIVES,
    **helpers_text.NATIVES,
    **helpers_trace.NATIVES,
    **helpers_each.NATIVES,
    **helpers_user.NATIVES,
    **helpers_skb.NATIVES,
    **helpers_skb_state.NATIVES,
    **helpers_header.NATIVES,
    **helpers_xdp.NATIVES,
    **helpers_dynptr.NATIVES,
    **helpers_redirect.NATIVES,
    **helpers_event.NATIVES,
    **helpers_percpu.NATIVES,
}
