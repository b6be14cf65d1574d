"""The verifier's log in both forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.kernel.log import POISON_CALL, parse, poisoned_call

CLASSIC = """\
func#0 @0
0: R1=ctx() R10=fp0
; return v->uses; @ sample.bpf.c:12
0: (b7) r1 = 0                        ; R1=0
1: (61) r0 = *(u32 *)(r1 +0)
R1 invalid mem access 'scalar'
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

REPORT = """\
0: R1=ctx() R10=fp0
1: (61) r0 = *(u32 *)(r6 +0)
R6 invalid mem access 'scalar'

Verification failed: Register Type Safety: Invalid dereference

Reason:
  R6 is a number here and
  not an address.

At:
  entry @ sample.bpf.c:12:9
  Source context:
      11 | long v = 0;
  >>> 12 | return *(int *)v;
         | ^-- error: invalid dereference of R6
  Instruction context:
  >>>  1 | (61) r0 = *(u32 *)(r6 +0)

Causal path:
  insn 0: R6 became a number

Suggestion:
  Keep the address in another
  register.

processed 17 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 0
"""


def test_classic_form() -> None:
    """The message is the last line before the statistics."""
    parsed = parse(CLASSIC)

    assert (parsed.message, parsed.insns_processed, parsed.report) == ("R1 invalid mem access 'scalar'", 2, None)


def test_newer_form() -> None:
    """The terse line stays the message; the report is taken apart."""
    parsed = parse(REPORT)

    assert parsed.message == "R6 invalid mem access 'scalar'"
    assert parsed.insns_processed == 17
    assert parsed.report is not None
    assert (parsed.report.category, parsed.report.problem) == ("Register Type Safety", "Invalid dereference")
    assert parsed.report.reason == "R6 is a number here and not an address."
    assert parsed.report.suggestion == "Keep the address in another register."
    assert list(parsed.report.sections) == ["Reason", "At", "Causal path", "Suggestion"]
    assert ">>> 12 | return *(int *)v;" in parsed.report.sections["At"]


def test_newer_form_without_a_terse_line() -> None:
    """Where nothing stands before the report, its problem is the message."""
    parsed = parse("\nVerification failed: Policy: Operation is not allowed\n\nReason:\n  because\n")

    assert parsed.message == "Operation is not allowed"
    assert parsed.insns_processed == 0


def test_accepted() -> None:
    """An accepted program has no message, whatever else the log says."""
    log = "Func#1 ('f') is safe for any args that match its prototype\nprocessed 9 insns (limit 1000000)\n"

    parsed = parse(log, accepted=True)

    assert (parsed.message, parsed.insns_processed) == ("", 9)


@pytest.mark.parametrize("log", ["", "\n\n", "Verification failed: ", "processed x insns"])
def test_odd_logs(log: str) -> None:
    """Nothing that looks different from what is known raises."""
    parsed = parse(log)

    assert parsed.insns_processed == 0
    assert parsed.message == log.strip()


@given(st.text(alphabet="processed 12insVrfctoa:\\nR!(-") | st.text())
def test_any_text(log: str) -> None:
    """Whatever the log holds, there is an answer, and its message is a line of the log."""
    parsed = parse(log)

    assert parsed.message in log or parsed.report is not None
    assert parsed.insns_processed >= 0


def test_poisoned_calls() -> None:
    """The number of a call that cannot exist leads back to its kfunc."""
    assert poisoned_call(f"invalid func unknown#{POISON_CALL + 3}") == 3
    assert poisoned_call("invalid func unknown#42") is None
    assert poisoned_call("R0 !read_ok") is None
