"""The kernel's crypto for BPF programs, on plain bytes: parameters, ciphers and their errnos. Knows no engine and no memory model."""
