/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs of ESP and user space have in common: security associations, policies, counters. User space reads these types
 * from the object's BTF and never repeats them.
 */
#ifndef ESP_TYPES_H
#define ESP_TYPES_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "bpf_crypto.h"
#include "bpf_experimental.h"
#include "bpf_kfuncs.h"
#include "bpf_tracing_net.h"

#define BLOCK 16
#define SLOTS 1024	   /* security associations */
#define PEERS 256	   /* peer 0 is none */
#define POLICIES 4096	   /* prefixes */
#define MAX_TEXT 9216	   /* bytes of one packet that are encrypted, padding and trailer included */
#define WINDOW_WORDS 32	   /* the replay window: a ring of words of 64 bits (RFC 6479); two CPUs may be a thousand packets apart */
#define ESP_HEADER 8	   /* SPI and sequence number (RFC 4303, section 2) */
#define IV_SIZE 8	   /* RFC 4309, section 3.1; RFC 7634, section 2 */

enum suite {
	NO_SUITE,
	AES_CCM_8,	   /* RFC 4309, ICV of 8 bytes */
	AES_CCM_16,	   /* RFC 4309, ICV of 16 bytes */
	CHACHA20_POLY1305, /* RFC 7634 */
};

enum mode { TRANSPORT, TUNNEL };

/* An IPv4 address is the IPv6 address that stands for it, ::ffff:a.b.c.d. */
struct address {
	__be32 word[4];
};

/* What a security association, one direction of it, was made for. It never changes. */
struct terms {
	u32 chacha_key[8]; /* ChaCha20-Poly1305: the key itself, which whoever may read maps can read */
	u32 spi;
	u32 peer;
	u32 salt; /* as it stands in the nonce: 3 bytes for AES-CCM, 4 for ChaCha20-Poly1305 */
	u8 suite;
	u8 mode;
	u8 esn;	     /* extended sequence numbers (RFC 4303, section 2.2.1) */
	u8 outbound; /* for packets that we send */
	struct address source; /* outer addresses */
	struct address target;
	u32 mtu; /* bytes of the largest outer packet that may be sent */
	u32 padding;
	u64 fingerprint; /* of key and salt, one-way: whether two SAs have the same */
};

/*
 * A security association. Slots are filled by install and emptied by clear, never by an update of the map, which would drop both
 * contexts. The SPI is written last and erased first: 0 is an empty slot.
 */
struct sa {
	struct bpf_crypto_ctx __kptr *ecb; /* AES-CCM: its two contexts of one key */
	struct bpf_crypto_ctx __kptr *cbc;
	struct terms terms;
	u64 installed_ns; /* CLOCK_MONOTONIC: another one for each time that the slot is filled; 0 while it is not */
	u32 on_probation; /* inbound: what is authentic is noticed and not delivered, until admit */
	u32 padding;
	/* What changes with every packet is on cache lines of its own. */
	u64 sequence __attribute__((aligned(64))); /* outbound: the last number that was used */
	u64 highest __attribute__((aligned(64)));  /* inbound: the highest number that was authentic */
	u64 window[WINDOW_WORDS];
	struct bpf_spin_lock lock;
};

/* What install takes from its context. The keys in it are zero when it returns. */
struct install {
	u64 type_and_algo[18]; /* struct bpf_crypto_params, of the ecb context */
	u64 key[32];
	u32 key_len;
	u32 authsize;
	u32 slot;
	u32 on_probation;
	u64 sequence; /* outbound: the last number that counts as used; in captures, what extended numbers begin behind */
	u64 highest;  /* inbound: the last number that counts as seen */
	struct terms terms;
};

enum action {
	DISCARD,
	BYPASS,	 /* in the clear, both ways */
	PROTECT, /* only by ESP with that peer */
	LOCAL,	 /* this side: where protected packets come from and go to */
};

struct policy {
	u32 action;
	u32 peer;
};

struct policy_key {
	u32 prefixlen; /* of the 128 bits: that of an IPv4 prefix is 96 longer */
	struct address address;
};

/* What has become of a packet. */
enum verdict {
	SEALED,
	OPENED,
	BYPASSED,	    /* in the clear, as the policy says; also ARP, neighbour discovery, and ESP that leaves */
	DUMMY,		    /* an authentic packet without content (RFC 4303, section 2.6): a sign of life */
	NO_POLICY,	    /* nothing says that it may pass */
	DISCARDED,	    /* the policy says that it may not */
	CLEARTEXT,	    /* came in the clear and should be protected */
	NOT_IP,
	MALFORMED,
	EXTENSION_HEADER,   /* transport mode: IPv6 headers that belong in front of ESP */
	FRAGMENT,	    /* transport mode, or a fragment of an ESP packet */
	SUPER_PACKET,	    /* GSO: to be cut into segments by the device */
	CHECKSUM,	    /* unfinished, and of a protocol that we cannot finish it for */
	TOO_BIG,
	NO_SA,		    /* to send: none is installed; received: the SPI is unknown */
	NO_KEY,		    /* the contexts are gone */
	EXHAUSTED,	    /* all sequence numbers are used */
	TOO_SHORT,	    /* received: cut off */
	TOO_OLD,	    /* the sequence number is left of the replay window */
	REPLAY,		    /* the sequence number was seen */
	BAD_TAG,	    /* not authentic */
	BAD_PADDING,	    /* authentic; the sender does not keep to RFC 4303 */
	BAD_SELECTOR,	    /* authentic; the addresses are not that peer's */
	BAD_ECN,	    /* marked as congested on its way, which its sender does not understand (RFC 6040, section 4.2) */
	CIPHER_ERROR,	    /* a crypto function failed */
	KERNEL_ERROR,	    /* another function failed: most likely no memory */
	NESTED,		    /* the memory of this CPU was in use */
	VERDICTS,
};

#define FIRST_DROP DUMMY

/* For each slot, and one more for packets that no SA was found for. */
struct tally {
	u64 packets[VERDICTS];
	u64 bytes;    /* sealed or opened: of the IP packets in the clear */
	u64 last_ns;  /* CLOCK_MONOTONIC, coarse: of the last packet that was sealed, opened or a dummy */
};

/* How the host is set up. */
struct settings {
	u32 output;  /* the interface; 0: packets belong to no device, as in test runs, and are returned as they are */
	u32 deliver; /* open: the interface that opened packets come from; 0: where they came in */
	u8 deliver_mac[6];
	u16 default_action; /* enum action, without a policy: DISCARD or BYPASS */
	u64 token;	    /* what requests for dummy packets are known by; 0: none is taken */
};

/* What is encrypted of a packet. */
struct payload {
	u32 offset; /* in the packet */
	u32 size;
	u32 next_header;
};

/* Poly1305 by words of 32 bits, least significant first; each has room for carries. */
struct poly1305 {
	u64 r[4];	 /* half of the one-time key, clamped: 28 bits each, all but the first divisible by 4 */
	u64 folded[4];	 /* r * 5 / 4, which is what r * 2^128 comes to modulo 2^130 - 5; the first is not used */
	u64 h[4];	 /* the sum so far: the last word has 34 bits, the first may not be carried yet */
	u64 one_time[8]; /* key stream: r, what is added in the end, and 32 bytes that are not used */
	u64 last[4];	 /* what is left of the text, with zeros behind it; the lengths */
};

/* Memory for one packet. The MAC of AES-CCM reads two blocks and the text in one piece, as the packet has its headers and the text. */
struct scratch {
	u8 headers[32];		 /* outer IP headers, at the end */
	u64 blocks[4];		 /* B0 and B1 of AES-CCM; later, in the second half, ESP header and IV */
	u8 text[MAX_TEXT + 256]; /* the ICV behind it; and as far as padding could reach, so that it needs no check */
	u8 stream[MAX_TEXT + 64];
	u64 tag[2];
	u64 aad[2];		 /* ChaCha20-Poly1305: associated data, zeros behind it */
	u32 aad_length;		 /* bytes: 8, with extended sequence numbers 12 */
	u32 nonce[3];
	u32 key[8];
	struct poly1305 poly1305;
	struct terms terms; /* of the SA, as they were when the packet came */
	u32 busy;
};

#endif
