"""Ready programs and the C headers that come with bpfcrypto."""
