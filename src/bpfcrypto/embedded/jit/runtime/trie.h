/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The longest prefix of a key in an LPM trie (map_trie.py). Prefixes are the elements of a hash, by their length and their bits with zeros
 * behind; a table says which lengths there are.
 */
#ifndef TRIE_H
#define TRIE_H

#include "hash.h"

#define PREFIX_BYTES 256

struct prefix {
	u32 length;
	u8 bits[PREFIX_BYTES];
};

/* What is there now: the number of an element or 0. */
static __attribute__((noinline)) u32 longest(const struct map *map, const struct prefix *key)
{
	u32 size = map->key_size, end = size - sizeof(key->length), length = key->length, next, number, whole;
	const u16 *shorter = (const u16 *)map->lengths;
	struct prefix prefix;

	if (length > end * 8)
		return 0;
	copy(&prefix, key, size);
	for (next = ACQUIRE(shorter + length + 1); next; next = ACQUIRE(shorter + length)) {
		length = next - 1;
		whole = length / 8;
		if (length % 8) {
			prefix.bits[whole] &= 0xff00 >> length % 8;
			whole++;
		}
		while (end > whole)
			prefix.bits[--end] = 0;
		prefix.length = length;
		number = walk(map, &prefix, hash_key((const u8 *)&prefix, size));
		if (number)
			return number;
	}
	return 0;
}

/* As find(): but what was found for one length counts only if nothing changed while the longer ones were looked for. */
INLINE u32 find_prefix(struct map *map, const void *key)
{
	u32 number, changes, tries;

	for (tries = 0; tries < TRIES; tries++) {
		changes = ACQUIRE(&map->changes);
		number = longest(map, key);
		if (likely(ACQUIRE(&map->changes) == changes))
			return number;
	}
	take(&map->lock);
	number = longest(map, key);
	give(&map->lock);
	return number;
}

#endif
