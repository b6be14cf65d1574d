"""Crypto contexts from Python: made, put into maps, rotated and given up, on either engine."""

from __future__ import annotations

from bpfcrypto.context.crypto_context import CryptoContext
from bpfcrypto.context.slot import Slot

__all__ = ["CryptoContext", "Slot"]
