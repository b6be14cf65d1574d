"""Capture files in and out: pcap and pcapng, and running a program over all packets of one."""

from __future__ import annotations

from bpfcrypto.abi.verdicts import goes_on
from bpfcrypto.capture.chunks import most_jobs, one_job
from bpfcrypto.capture.files import Capture, create_capture, open_capture
from bpfcrypto.capture.packet import CaptureWriter, Interface, LinkType, Packet
from bpfcrypto.capture.replay import ReplayTotals, replay, verdict_name

__all__ = [
    "Capture",
    "CaptureWriter",
    "Interface",
    "LinkType",
    "Packet",
    "ReplayTotals",
    "create_capture",
    "goes_on",
    "most_jobs",
    "one_job",
    "open_capture",
    "replay",
    "verdict_name",
]
