"""The page that says what is supported is what the tables give, and the tables are what the embedded engine is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bpfcrypto.abi.helpers import HELPERS
from bpfcrypto.abi.maps import NOT_EMBEDDED, MapType
from bpfcrypto.embedded.engine import EmbeddedEngine

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    """Writing it anew would change nothing."""
    result = subprocess.run(
        [sys.executable, ROOT / "tools/write_support_table.py", "--check"], check=False, capture_output=True, text=True
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_tables_say_what_the_engine_has() -> None:
    """A map type or helper is there, or there is a reason why not."""
    able = EmbeddedEngine().capabilities
    callable_helpers = {helper.name for helper in HELPERS.values() if helper.types}

    assert {kind.name for kind in MapType} - {"UNSPEC"} - able.map_types == {kind.name for kind in NOT_EMBEDDED}
    assert callable_helpers - able.helpers == {helper.name for helper in HELPERS.values() if helper.reason}
