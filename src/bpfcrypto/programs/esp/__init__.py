"""Standard ESP (RFC 4303) between two hosts, by BPF programs that a stock kernel loads."""
