"""The kernel engine: BPF objects on the running kernel, through bpf(2) and nothing else."""
