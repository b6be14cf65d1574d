"""The memory of a native crypto context: what machine code reads and Python writes.

One block of ``SIZE`` bytes, aligned to 16:

=================  =======================================================================================================
offset             what
=================  =======================================================================================================
``ROUNDS``         u32: 10, 12 or 14, for keys of 16, 24 and 32 bytes; written by ``aes_expand``
``MODE``           u32: index in ``MODES``
``SIV_SIZE``       u32: bytes of the IV that every call must come with
``PARTIAL``        u32: 1 where the whole blocks of a ragged length are processed before it is refused, else 0
``ENCRYPT_KEYS``   15 round keys of 16 bytes, in the order of encryption; the first ``rounds + 1`` count; by ``aes_expand``
``DECRYPT_KEYS``   the same for the equivalent inverse cipher (FIPS 197 section 5.3.5), in the order of decryption
``SCRATCH``        32 bytes where a key can wait for its expansion; never read by anything else
=================  =======================================================================================================
"""

from __future__ import annotations

from struct import Struct

ROUNDS = 0
MODE = 4
SIV_SIZE = 8
PARTIAL = 12
HEAD = Struct("<IIII")
ENCRYPT_KEYS = 16
DECRYPT_KEYS = 256
SCRATCH = 496
SIZE = 528

MODES = ("ecb", "cbc")
