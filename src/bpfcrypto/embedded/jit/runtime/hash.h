/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The index of a hash map (hash_index.py): jhash of the key, chains with the newest element first, numbers counted from 1. */
#ifndef HASH_H
#define HASH_H

#include "map.h"

struct element {
	u32 next, hash;
	u8 key[];
};

#define TRIES 4

INLINE u32 rotate(u32 word, u32 bits)
{
	return word << bits | word >> (32 - bits);
}

INLINE u32 some_bytes(const u8 *p, u32 size)
{
	u32 word = 0;

	if (size >= 4)
		return *(const u32 *)p;
	if (size > 2)
		word = (u32)p[2] << 16;
	if (size > 1)
		word |= (u32)p[1] << 8;
	if (size)
		word |= p[0];
	return word;
}

/* lookup3 with seed 0. */
INLINE u32 hash_key(const u8 *p, u32 size)
{
	u32 a = 0xdeadbeef + size, b = a, c = a;

	if (!size)
		return c;
	while (size > 12) {
		a += *(const u32 *)p;
		b += *(const u32 *)(p + 4);
		c += *(const u32 *)(p + 8);
		a -= c, a ^= rotate(c, 4), c += b;
		b -= a, b ^= rotate(a, 6), a += c;
		c -= b, c ^= rotate(b, 8), b += a;
		a -= c, a ^= rotate(c, 16), c += b;
		b -= a, b ^= rotate(a, 19), a += c;
		c -= b, c ^= rotate(b, 4), b += a;
		p += 12;
		size -= 12;
	}
	a += some_bytes(p, size);
	if (size > 4)
		b += some_bytes(p + 4, size - 4);
	if (size > 8)
		c += some_bytes(p + 8, size - 8);
	c ^= b, c -= rotate(b, 14);
	a ^= c, a -= rotate(c, 11);
	b ^= a, b -= rotate(a, 25);
	c ^= b, c -= rotate(b, 16);
	a ^= c, a -= rotate(c, 4);
	b ^= a, b -= rotate(a, 14);
	c ^= b, c -= rotate(b, 24);
	return c;
}

INLINE struct element *element_of(const struct map *map, u32 number)
{
	return (struct element *)(map->elements + (u64)(number - 1) * map->element_size);
}

INLINE u32 *head_of(const struct map *map, u32 hash)
{
	return (u32 *)map->table + (hash & map->mask);
}

INLINE u32 same_key(const struct element *e, const void *key, u32 size)
{
	if (size == 4)
		return *(const u32 *)e->key == *(const u32 *)key;
	if (size == 8)
		return *(const u64 *)e->key == *(const u64 *)key;
	return !differs(e->key, key, size);
}

/* What follows the chain as it is now: the number of an element or 0. */
INLINE u32 walk(const struct map *map, const void *key, u32 hash)
{
	u32 number = ACQUIRE(head_of(map, hash));

	while (number) {
		struct element *e = element_of(map, number);

		if (e->hash == hash && same_key(e, key, map->key_size))
			break;
		number = ACQUIRE(&e->next);
	}
	return number;
}

/* For readers, who hold no lock and may be led astray by an element that is used again meanwhile. */
INLINE u32 find(struct map *map, const void *key)
{
	u32 hash = hash_key(key, map->key_size), number, changes, tries;

	for (tries = 0; tries < TRIES; tries++) {
		changes = ACQUIRE(&map->changes);
		number = walk(map, key, hash);
		if (likely(number || ACQUIRE(&map->changes) == changes))
			return number;
	}
	take(&map->lock);
	number = walk(map, key, hash);
	give(&map->lock);
	return number;
}

/* Writers hold the lock. */
INLINE void link_element(struct map *map, u32 number, const void *key, u32 hash)
{
	struct element *e = element_of(map, number);
	u32 *head = head_of(map, hash);

	e->hash = hash;
	store(e->key, key, map->key_size);
	RELEASE(&e->next, *head);
	RELEASE(head, number);
}

INLINE void unlink_element(struct map *map, u32 number)
{
	struct element *e = element_of(map, number);
	u32 *place = head_of(map, e->hash);

	while (*place != number)
		place = &element_of(map, *place)->next;
	RELEASE(&map->changes, map->changes + 1);
	RELEASE(place, e->next);
	RELEASE(&map->changes, map->changes + 1);
}

#endif
