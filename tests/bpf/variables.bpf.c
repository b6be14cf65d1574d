/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Global variables of every kind of type, in every kind of data section. */
#include "test.h"

LICENSE_GPL;

enum colour { RED, GREEN = 5, BLUE = 0x7fffffff };
enum signed_kind { BELOW = -3, ABOVE = 3 };

struct inner {
	u8 a;
	u16 b[3];
};

struct outer {
	u32 id;
	struct inner inner[2];
	union {
		u64 whole;
		u32 halves[2];
	};
	s16 narrow : 5;
	u16 wide : 11;
	enum colour colour;
	char name[12];
};

/* .data */
s8 d_s8 = -8;
u8 d_u8 = 200;
s16 d_s16 = -1600;
u16 d_u16 = 60000;
s32 d_s32 = -320000;
u32 d_u32 = 4000000000;
s64 d_s64 = -640000000000;
u64 d_u64 = 0xfedcba9876543210;
bool d_bool = true;
char d_char = 'c';
enum colour d_colour = BLUE;
enum signed_kind d_signed = BELOW;
char d_text[16] = "text";
u16 d_grid[2][3] = {{1, 2, 3}, {4, 5, 6}};
struct outer d_outer = {
	.id = 1,
	.inner = {{2, {3, 4, 5}}, {6, {7, 8, 9}}},
	.whole = 0x1122334455667788,
	.narrow = -7,
	.wide = 2000,
	.colour = GREEN,
	.name = "outer",
};
static u32 d_static = 77;

/* .bss */
u32 b_count;
u64 b_wide;
struct outer b_outer;
u8 b_bytes[100];

/* .rodata: settable until the object is loaded */
const volatile u32 r_limit = 10;
const volatile bool r_enabled = false;
const volatile char r_name[8] = "fixed";
static const u32 r_table[8] = {1, 2, 4, 8, 16, 32, 64, 128};

/* sections of their own */
u32 custom_data SEC(".data.custom") = 42;
u64 custom_bss SEC(".bss.custom");
const volatile u32 custom_rodata SEC(".rodata.custom") = 43;

/* a context that no map holds */
struct bpf_crypto_ctx __kptr *held SEC(".bss.contexts");

SEC("tc")
__success __description("every variable is read and written")
int touch(struct __sk_buff *skb)
{
	b_count++;
	b_wide = d_u64 + d_s64 + d_s32 + d_u32 + d_s16 + d_u16 + d_s8 + d_u8 + d_char;
	b_outer = d_outer;
	b_outer.id += r_limit;
	b_outer.narrow = d_outer.narrow - 1;
	b_outer.wide = d_outer.wide + 1;
	b_outer.name[5] = d_bool ? '!' : '?';
	d_static += r_table[b_count & 7];
	d_grid[1][2] = d_static;
	custom_data += custom_rodata;
	custom_bss = custom_data;
	d_signed = d_colour == BLUE ? ABOVE : BELOW;
	b_bytes[b_count & 63] = r_name[b_count & 7];
	return r_enabled ? r_limit : b_count;
}

SEC("syscall")
__success __description("a context in a global variable")
int hold(void *args)
{
	struct bpf_crypto_params params = {.type = "skcipher", .algo = "cbc(aes)", .key = {1, 2, 3}, .key_len = 32};
	struct bpf_crypto_ctx *cctx;
	int err;

	cctx = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!cctx)
		return err;
	cctx = bpf_kptr_xchg(&held, cctx);
	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return cctx != NULL;
}

SEC("syscall")
__success __description("and out of it")
int let_go(void *args)
{
	struct bpf_crypto_ctx *cctx = bpf_kptr_xchg(&held, NULL);

	if (cctx)
		bpf_crypto_ctx_release(cctx);
	return cctx != NULL;
}

SEC("tc")
__success __description("used by a packet program, with the IV in .bss")
int use_held(struct __sk_buff *skb)
{
	struct bpf_crypto_ctx *cctx = held;
	struct bpf_dynptr data, iv;

	if (!cctx)
		return 1;
	bpf_dynptr_from_mem(b_bytes, 32, 0, &data);
	bpf_dynptr_from_mem(b_bytes + 64, 16, 0, &iv);
	return bpf_crypto_encrypt(cctx, &data, &data, &iv);
}
