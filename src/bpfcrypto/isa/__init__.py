"""The BPF instruction set: one table of opcodes, and what encodes, decodes, assembles and prints it (RFC 9669)."""
