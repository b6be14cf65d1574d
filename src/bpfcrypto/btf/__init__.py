"""BTF, the BPF type format: reading, writing, comparing, and Python values by type (Documentation/bpf/btf.rst)."""
