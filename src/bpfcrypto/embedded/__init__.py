"""The embedded engine: runs BPF programs in this process, on any machine, without root."""
