/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Between the CPU's byte order and the network's. Constants are converted by the compiler. */
#ifndef BPF_ENDIAN_H
#define BPF_ENDIAN_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ___bpf_to_network(bits, x) __builtin_bswap##bits(x)
#define ___bpf_to_little(bits, x) (x)
#else
#define ___bpf_to_network(bits, x) (x)
#define ___bpf_to_little(bits, x) __builtin_bswap##bits(x)
#endif

#define bpf_htons(x) ((__be16)___bpf_to_network(16, (__u16)(x)))
#define bpf_ntohs(x) ((__u16)___bpf_to_network(16, (__u16)(x)))
#define bpf_htonl(x) ((__be32)___bpf_to_network(32, (__u32)(x)))
#define bpf_ntohl(x) ((__u32)___bpf_to_network(32, (__u32)(x)))
#define bpf_cpu_to_be64(x) ((__be64)___bpf_to_network(64, (__u64)(x)))
#define bpf_be64_to_cpu(x) ((__u64)___bpf_to_network(64, (__u64)(x)))
#define bpf_cpu_to_le16(x) ((__u16)___bpf_to_little(16, (__u16)(x)))
#define bpf_le16_to_cpu(x) ((__u16)___bpf_to_little(16, (__u16)(x)))
#define bpf_cpu_to_le32(x) ((__u32)___bpf_to_little(32, (__u32)(x)))
#define bpf_le32_to_cpu(x) ((__u32)___bpf_to_little(32, (__u32)(x)))
#define bpf_cpu_to_le64(x) ((__u64)___bpf_to_little(64, (__u64)(x)))
#define bpf_le64_to_cpu(x) ((__u64)___bpf_to_little(64, (__u64)(x)))

#endif
