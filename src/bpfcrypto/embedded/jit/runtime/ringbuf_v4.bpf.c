// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Ring buffers (map_ringbuf.py, kernel/bpf/ringbuf.c). A record is all that its end is told, and its header says where the ring begins. */
#include "map.h"

#define PAGE 4096ull
#define META_PAGES 3
#define HEADER 8
#define MAX_RECORD (0xffffffffu / 4)
#define BUSY (1u << 31)
#define DISCARD (1u << 30)

enum { NO_WAKEUP = 1, FORCE_WAKEUP = 2 };
enum { AVAILABLE, SIZE, CONSUMER, PRODUCER };

/* The first page of a ring. The two positions have a page each, the data comes behind them. */
struct ring {
	u64 mask, pending, wakeups;
};

struct header {
	u32 size, page;
};

INLINE u64 *consumer_of(struct ring *ring)
{
	return (u64 *)((u64)ring + PAGE);
}

INLINE u64 *producer_of(struct ring *ring)
{
	return (u64 *)((u64)ring + 2 * PAGE);
}

INLINE u64 data_of(struct ring *ring)
{
	return (u64)ring + META_PAGES * PAGE;
}

INLINE u64 record_size(u64 size)
{
	return (size + HEADER + 7) & ~7ull;
}

/* Bytes of a record that lie in the copy behind the data. */
INLINE u64 over_end(struct ring *ring, struct header *header, u64 size)
{
	u64 end = (u64)header + HEADER + size, last = data_of(ring) + ring->mask + 1;

	return end > last ? end - last : 0;
}

INLINE void skip_finished(struct ring *ring, u64 producer)
{
	while (ring->pending < producer) {
		u32 word = ACQUIRE(&((struct header *)(data_of(ring) + (ring->pending & ring->mask)))->size);

		if (word & BUSY)
			return;
		ring->pending += record_size(word & ~DISCARD);
	}
}

INLINE u64 reserve(struct map *map, u64 size)
{
	struct ring *ring = (struct ring *)map->table;
	u64 needed = record_size(size), consumer, position, end, over;
	struct header *header;

	if (size > MAX_RECORD || needed > ring->mask + 1)
		return 0;
	take(&map->lock);
	consumer = ACQUIRE(consumer_of(ring));
	position = *producer_of(ring);
	end = position + needed;
	skip_finished(ring, position);
	if (end - consumer > ring->mask || end - ring->pending > ring->mask) {
		give(&map->lock);
		return 0;
	}
	header = (struct header *)(data_of(ring) + (position & ring->mask));
	header->page = META_PAGES + (position & ring->mask) / PAGE;
	RELEASE(&header->size, size | BUSY);
	RELEASE(producer_of(ring), end);
	give(&map->lock);
	over = over_end(ring, header, size);
	if (unlikely(over))
		copy((void *)(data_of(ring) + ring->mask + 1), (void *)data_of(ring), over);
	return (u64)header + HEADER;
}

INLINE void commit(u64 record, u64 flags, u32 discard)
{
	struct header *header = (struct header *)(record - HEADER);
	struct ring *ring = (struct ring *)(((u64)header & ~(PAGE - 1)) - header->page * PAGE);
	u32 size = header->size & ~BUSY;
	u64 over = over_end(ring, header, size), behind;

	if (unlikely(over))
		copy((void *)data_of(ring), (void *)(data_of(ring) + ring->mask + 1), over);
	__atomic_exchange_n(&header->size, size | discard, __ATOMIC_SEQ_CST);
	behind = (ACQUIRE(consumer_of(ring)) ^ ((u64)header - data_of(ring))) & ring->mask;
	if (flags & FORCE_WAKEUP || (!behind && !(flags & NO_WAKEUP)))
		__sync_fetch_and_add(&ring->wakeups, 1);
}

INLINE u32 is_ring(struct map *map)
{
	if (likely(map->kind == RING))
		return 1;
	ask_python();
	return 0;
}

NATIVE u64 bpf_ringbuf_reserve(struct map *map, u64 size, u64 flags)
{
	return is_ring(map) && !flags ? reserve(map, size) : 0;
}

NATIVE u64 bpf_ringbuf_submit(u64 record, u64 flags)
{
	commit(record, flags, 0);
	return 0;
}

NATIVE u64 bpf_ringbuf_discard(u64 record, u64 flags)
{
	commit(record, flags, DISCARD);
	return 0;
}

NATIVE s64 bpf_ringbuf_output(struct map *map, const void *data, u64 size, u64 flags)
{
	u64 record;

	if (!is_ring(map))
		return 0;
	if (flags & ~(u64)(NO_WAKEUP | FORCE_WAKEUP))
		return -EINVAL;
	record = reserve(map, size);
	if (!record)
		return -EAGAIN;
	move((void *)record, data, size);
	commit(record, flags, 0);
	return 0;
}

NATIVE u64 bpf_ringbuf_query(struct map *map, u64 flags)
{
	struct ring *ring = (struct ring *)map->table;

	if (!is_ring(map))
		return 0;
	switch (flags) {
	case AVAILABLE:
		return ACQUIRE(producer_of(ring)) - ACQUIRE(consumer_of(ring));
	case SIZE:
		return ring->mask + 1;
	case CONSUMER:
		return ACQUIRE(consumer_of(ring));
	case PRODUCER:
		return ACQUIRE(producer_of(ring));
	default:
		return 0;
	}
}

INLINE void set(struct dynptr *d, u64 data, u32 packed)
{
	d->data = data;
	d->packed = packed;
	d->offset = 0;
}

NATIVE s64 bpf_ringbuf_reserve_dynptr(struct map *map, u32 size, u64 flags, struct dynptr *result)
{
	u64 record;

	if (!is_ring(map))
		return 0;
	set(result, 0, 0);
	if (flags)
		return -EINVAL;
	if (size > DYNPTR_MAX)
		return -E2BIG;
	record = reserve(map, size);
	if (!record)
		return -EINVAL;
	set(result, record, size | RINGBUF << 28);
	return 0;
}

INLINE s64 commit_dynptr(struct dynptr *d, u64 flags, u32 discard)
{
	if (d->data) {
		commit(d->data, flags, discard);
		set(d, 0, 0);
	}
	return 0;
}

NATIVE s64 bpf_ringbuf_submit_dynptr(struct dynptr *d, u64 flags)
{
	return commit_dynptr(d, flags, 0);
}

NATIVE s64 bpf_ringbuf_discard_dynptr(struct dynptr *d, u64 flags)
{
	return commit_dynptr(d, flags, DISCARD);
}
