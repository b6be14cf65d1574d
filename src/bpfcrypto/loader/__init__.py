"""From the bytes of an ELF object to a :class:`~bpfcrypto.spec.CollectionSpec`."""
