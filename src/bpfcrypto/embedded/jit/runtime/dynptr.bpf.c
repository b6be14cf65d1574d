// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Dynptrs: making, narrowing, reading and writing them (kernel/bpf/helpers.c). */
#include "dynptr.h"

INLINE void make(struct dynptr *d, u32 kind, u64 data, u32 size)
{
	d->data = data;
	d->packed = size | kind << 28;
	d->offset = 0;
}

INLINE void make_null(struct dynptr *d)
{
	d->data = 0;
	d->packed = 0;
	d->offset = 0;
}

NATIVE s64 bpf_dynptr_from_mem(u64 data, u32 size, u64 flags, struct dynptr *result)
{
	if (size > DYNPTR_MAX || flags) {
		make_null(result);
		return size > DYNPTR_MAX ? -E2BIG : -EINVAL;
	}
	make(result, LOCAL, data, size);
	return 0;
}

INLINE s64 from_packet(u64 handle, u64 flags, struct dynptr *result, u32 kind)
{
	struct words *words = words_of(handle, kind);

	if (flags) {
		make_null(result);
		return -EINVAL;
	}
	make(result, kind, handle, words->end - (kind == XDP ? words->data : words->start) + words->behind);
	return 0;
}

NATIVE s64 bpf_dynptr_from_skb(u64 skb, u64 flags, struct dynptr *result)
{
	return from_packet(skb, flags, result, SKB);
}

NATIVE s64 bpf_dynptr_from_xdp(u64 xdp, u64 flags, struct dynptr *result)
{
	return from_packet(xdp, flags, result, XDP);
}

NATIVE s64 bpf_dynptr_read(void *dst, u32 size, struct dynptr *src, u32 offset, u64 flags)
{
	u64 address;

	if (!src->data || flags)
		return -EINVAL;
	if (size > DYNPTR_SIZE(src) || offset > DYNPTR_SIZE(src) - size)
		return -E2BIG;
	if (dynptr_place(src, offset, size, &address) != CONTIGUOUS) {
		ask_python();
		return 0;
	}
	move(dst, (void *)address, size);
	return 0;
}

NATIVE s64 bpf_dynptr_write(struct dynptr *dst, u32 offset, void *src, u32 size, u64 flags)
{
	u64 address;

	if (!dst->data || dst->packed & DYNPTR_RDONLY)
		return -EINVAL;
	if (size > DYNPTR_SIZE(dst) || offset > DYNPTR_SIZE(dst) - size)
		return -E2BIG;
	/* a flag that has a meaning is about the checksum and the hash of an skb */
	if (flags || dynptr_place(dst, offset, size, &address) != CONTIGUOUS) {
		ask_python();
		return 0;
	}
	move((void *)address, src, size);
	return 0;
}

NATIVE u64 bpf_dynptr_data(struct dynptr *d, u32 offset, u32 size)
{
	u32 kind = DYNPTR_KIND(d);
	u64 address;

	if (d->packed & DYNPTR_RDONLY || (kind != LOCAL && kind != RINGBUF))
		return 0;
	return dynptr_place(d, offset, size, &address) == CONTIGUOUS ? address : 0;
}

INLINE u64 slice(struct dynptr *d, u32 offset, void *buffer, u32 size)
{
	u64 address;

	switch (dynptr_place(d, offset, size, &address)) {
	case CONTIGUOUS:
		return address;
	case NOWHERE:
		if (!buffer)
			return 0;
	default:
		ask_python();
		return 0;
	}
}

NATIVE u64 bpf_dynptr_slice(struct dynptr *d, u32 offset, void *buffer, u32 size)
{
	return slice(d, offset, buffer, size);
}

NATIVE u64 bpf_dynptr_slice_rdwr(struct dynptr *d, u32 offset, void *buffer, u32 size)
{
	if (d->packed & DYNPTR_RDONLY)
		return 0;
	return slice(d, offset, buffer, size);
}

NATIVE s64 bpf_dynptr_adjust(struct dynptr *d, u32 start, u32 end)
{
	if (!d->data || start > end)
		return -EINVAL;
	if (end > DYNPTR_SIZE(d))
		return -ERANGE;
	d->packed = (d->packed & ~DYNPTR_MAX) | (end - start);
	d->offset += start;
	return 0;
}

NATIVE u64 bpf_dynptr_is_null(struct dynptr *d)
{
	return !d->data;
}

NATIVE u64 bpf_dynptr_is_rdonly(struct dynptr *d)
{
	return d->data && d->packed & DYNPTR_RDONLY;
}

NATIVE u64 bpf_dynptr_size(struct dynptr *d)
{
	return d->data ? DYNPTR_SIZE(d) : (u32)-EINVAL;
}

NATIVE s64 bpf_dynptr_clone(struct dynptr *d, struct dynptr *result)
{
	if (!d->data) {
		make_null(result);
		return -EINVAL;
	}
	*result = *d;
	return 0;
}
