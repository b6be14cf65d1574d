"""``python -m bpfcrypto.cli``: the same as the ``bpfcrypto`` command."""

from __future__ import annotations

import sys

from bpfcrypto.cli.main import main

sys.exit(main())
