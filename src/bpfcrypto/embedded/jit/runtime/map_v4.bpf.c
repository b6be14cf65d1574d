// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Elements of arrays and hashes, and what a trie has for a key (kernel/bpf/arraymap.c, hashtab.c, lpm_trie.c). Values with special fields,
 * what makes an LRU map evict, and changes of tries are left to Python.
 */
#include "trie.h"

INLINE u64 value_on(struct map *map, const void *key, u32 cpu)
{
	u32 number;

	switch (map->kind) {
	case HASH:
	case LRU:
		number = find(map, key);
		if (!number)
			return 0;
		number--;
		if (map->kind == LRU) {
			u8 *used = (u8 *)map->referenced + number;

			if (!*used)
				*used = 1;
		}
		break;
	case ARRAY:
		number = *(const u32 *)key;
		if (number >= map->max_entries)
			return 0;
		break;
	case ARRAY_OF_MAPS:
		number = *(const u32 *)key;
		return number < map->max_entries ? ACQUIRE((u64 *)map->values + number) : 0;
	case TRIE:
		number = find_prefix(map, key);
		if (!number)
			return 0;
		number--;
		break;
	case HASH_OF_MAPS:
		number = find(map, key);
		return number ? ACQUIRE((u64 *)map->values + number - 1) : 0;
	default:
		ask_python();
		return 0;
	}
	return (u64)value_of(map, number, cpu);
}

NATIVE u64 bpf_map_lookup_elem(struct map *map, const void *key)
{
	return value_on(map, key, map->abilities & PERCPU ? run_cpu() : 0);
}

NATIVE u64 bpf_map_lookup_percpu_elem(struct map *map, const void *key, u32 cpu)
{
	if (!(map->abilities & PERCPU)) {
		ask_python();
		return 0;
	}
	return cpu < map->cpus ? value_on(map, key, cpu) : 0;
}

INLINE s64 update_array(struct map *map, const void *key, const void *value, u64 flags)
{
	u32 index = *(const u32 *)key;

	if (index >= map->max_entries)
		return -E2BIG;
	if (flags & NOEXIST)
		return -EEXIST;
	if (flags & F_LOCK)
		return -EINVAL; /* there is no lock in a value without special fields */
	store(value_of(map, index, map->abilities & PERCPU ? run_cpu() : 0), value, map->value_size);
	return 0;
}

/* A program gives its own CPU's copy of a new element; the others become zero. */
INLINE void fill_element(struct map *map, u32 slot, const void *value)
{
	u32 cpu, own;

	if (!(map->abilities & PERCPU)) {
		store(value_of(map, slot, 0), value, map->value_size);
		return;
	}
	own = run_cpu();
	for (cpu = 0; cpu < map->cpus; cpu++) {
		if (cpu == own)
			store(value_of(map, slot, cpu), value, map->value_size);
		else
			fill(value_of(map, slot, cpu), 0, map->stride);
	}
}

INLINE s64 insert(struct map *map, const void *key, u32 hash, const void *value)
{
	u32 slot;

	if (map->count >= map->max_entries)
		return -E2BIG;
	if (map->free_count)
		slot = ((u32 *)map->free)[--map->free_count];
	else
		slot = map->fresh++;
	fill_element(map, slot, value);
	link_element(map, slot + 1, key, hash);
	map->count++;
	return 0;
}

/* A new element takes the place of the old one, which becomes the spare one of this CPU. */
INLINE void replace(struct map *map, const void *key, u32 hash, const void *value, u32 old)
{
	u32 *spare = (u32 *)map->spares + run_cpu() % map->spare_count;
	u32 slot = *spare;

	store(value_of(map, slot, 0), value, map->value_size);
	link_element(map, slot + 1, key, hash);
	unlink_element(map, old);
	*spare = old - 1;
}

INLINE s64 update_hash(struct map *map, const void *key, const void *value, u64 flags)
{
	u32 hash, old;
	s64 result = 0;

	if (flags & F_LOCK)
		return -EINVAL;
	hash = hash_key(key, map->key_size);
	take(&map->lock);
	old = walk(map, key, hash);
	if (old && flags == NOEXIST)
		result = -EEXIST;
	else if (!old && flags == EXIST)
		result = -ENOENT;
	else if (!old)
		result = insert(map, key, hash, value);
	else if (map->abilities & PERCPU)
		store(value_of(map, old - 1, run_cpu()), value, map->value_size);
	else
		replace(map, key, hash, value, old);
	give(&map->lock);
	return result;
}

NATIVE s64 bpf_map_update_elem(struct map *map, const void *key, const void *value, u64 flags)
{
	if (unlikely(!(map->abilities & WRITE) || (map->kind != ARRAY && map->kind != HASH))) {
		ask_python();
		return 0;
	}
	if ((flags & ~(u64)F_LOCK) > EXIST)
		return -EINVAL;
	return map->kind == ARRAY ? update_array(map, key, value, flags) : update_hash(map, key, value, flags);
}

NATIVE s64 bpf_map_delete_elem(struct map *map, const void *key)
{
	u32 hash, old;

	if (unlikely(!(map->abilities & WRITE) || (map->kind != ARRAY && map->kind != HASH))) {
		ask_python();
		return 0;
	}
	if (map->kind == ARRAY)
		return -EINVAL;
	hash = hash_key(key, map->key_size);
	take(&map->lock);
	old = walk(map, key, hash);
	if (old) {
		unlink_element(map, old);
		((u32 *)map->free)[map->free_count++] = old - 1;
		map->count--;
	}
	give(&map->lock);
	return old ? 0 : -ENOENT;
}
