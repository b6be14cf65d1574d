/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What lies behind the address of a map (map_record.py), and the words that machine code and Python lock with. */
#ifndef MAP_H
#define MAP_H

#include "runtime.h"

struct map {
	u64 values, stride, slots;
	u32 key_size, value_size, max_entries, kind, abilities, cpus, lock, mask;
	u64 table, elements, free, referenced, spares;
	u32 element_size, spare_count, count, free_count, fresh, changes;
	u64 lengths;
};

enum { OTHER, ARRAY, HASH, LRU, ARRAY_OF_MAPS, HASH_OF_MAPS, RING, TRIE };
enum { WRITE = 1, PERCPU = 2 };
enum { ANY, NOEXIST, EXIST, F_LOCK = 4 };

#define ACQUIRE(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
#define RELEASE(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)

INLINE void take(u32 *word)
{
	while (unlikely(__sync_val_compare_and_swap(word, 0, 1)))
		pause_cpu();
}

INLINE void give(u32 *word)
{
	RELEASE(word, 0);
}

INLINE void *value_of(const struct map *map, u64 slot, u32 cpu)
{
	return (void *)(map->values + (cpu * map->slots + slot) * map->stride);
}

/* Values of one word are so common that calling memmove would cost more than the rest of an update. */
INLINE void store(void *dst, const void *src, u32 size)
{
	if (size == 8)
		*(u64 *)dst = *(const u64 *)src;
	else if (size == 4)
		*(u32 *)dst = *(const u32 *)src;
	else
		move(dst, src, size);
}

#endif
