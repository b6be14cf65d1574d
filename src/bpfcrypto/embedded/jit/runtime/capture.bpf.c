// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs on the records of a capture file: each is read from one piece of memory and written to another (capture/pcap.py, pcapng.py,
 * pcapng_writer.py). Whatever is rare (headers of files and interfaces, damage, records of old kinds) is left to Python, which reads and
 * writes the same formats.
 */
#include "driver.h"

#define MAX_PACKET 262144
#define MAX_BLOCK (1 << 20)
#define ALIGN4(x) (((x) + 3) & ~3ull)
#define U32_MAX 0xffffffffull

/* Why a function came back. FULL: there is no room for one more result. ODD: the next record is Python's. */
enum stop { MORE, FULL, ODD, STOPPED };

enum outcome { SAME, CHANGED, DROPPED, RAISED };

enum { INTERFACE = 1, OLD_PACKET = 2, SIMPLE_PACKET = 3, ENHANCED_PACKET = 6, SECTION = 0x0a0d0d0a };

#define TALLIES 64

struct tally {
	u64 retval;
	u64 count;
};

struct interface {
	u32 usable;
	u32 snaplen;
	u32 longest; /* packet written */
	u32 unused;
};

/* A piece of a capture on its way (records.py). */
struct stream {
	struct arena *arena; /* NULL: records are only looked at; what is ODD then is ODD in a run too, and nothing else is */
	u64 in, in_end;
	u64 out, out_end;    /* out is 0 where nothing is written */
	u64 swapped;         /* whether numbers are in the other byte order */
	u64 resolution;
	struct interface *interfaces;
	u64 interface_count;
	struct tally *tallies;
	u64 tally_count;
	u64 drop_refused;    /* whether a packet that no run takes is dropped, and not copied */
	u64 packets, bytes, changed, written, dropped, refused;
};

INLINE u32 number(struct stream *s, u32 value)
{
	return s->swapped ? __builtin_bswap32(value) : value;
}

INLINE u16 number16(struct stream *s, u16 value)
{
	return s->swapped ? __builtin_bswap16(value) : value;
}

INLINE void count(struct stream *s, u64 retval)
{
	struct tally *t = s->tallies, *end = t + s->tally_count;

	while (t < end && t->retval != retval)
		t++;
	if (t == end) {
		t->retval = retval;
		t->count = 0;
		s->tally_count++;
	}
	t->count++;
}

/* Run the program on a packet of the file; what comes out is in the arena. */
INLINE enum outcome give(struct stream *s, const u8 *data, u64 size)
{
	struct arena *a = s->arena;
	u64 refused = run_packet(a, data, size), on;

	if (unlikely(a->stopped))
		return RAISED;
	s->packets++;
	s->bytes += size;
	if (unlikely(refused)) {
		s->refused++;
		if (s->drop_refused) {
			s->dropped++;
			return DROPPED;
		}
		s->written++;
		a->out = (u64)data;
		a->out_size = size;
		return SAME;
	}
	count(s, a->retval);
	on = a->retval < 64 ? a->forwards >> a->retval & 1 : a->others;
	if (!on) {
		s->dropped++;
		return DROPPED;
	}
	s->written++;
	if (a->out_size == size && !differs((void *)a->out, data, size))
		return SAME;
	s->changed++;
	return CHANGED;
}

/* The length on the wire changes by as much as the packet does. */
INLINE u32 new_wire(u64 wire, u64 old, u64 size)
{
	s64 moved = (s64)(wire + size - old);

	if (moved < (s64)size)
		return size;
	return moved > (s64)U32_MAX ? U32_MAX : moved;
}

INLINE int no_room(struct stream *s, u64 size)
{
	return s->tally_count == TALLIES || (s->out && s->out_end - s->out < size + LARGEST);
}

INLINE void note_length(struct interface *interface, u64 size)
{
	if (size > interface->longest)
		interface->longest = size;
}

INLINE enum stop pcap(struct stream *s)
{
	struct arena *a = s->arena;

	for (;;) {
		u64 left = s->in_end - s->in, size, seconds, fraction, wire;
		u32 *head = (u32 *)s->in, *out;
		const u8 *data = (const u8 *)s->in + 16;
		enum outcome outcome;

		if (left < 16)
			return MORE;
		size = number(s, head[2]);
		if (unlikely(size > MAX_PACKET || !s->interfaces->usable))
			return ODD;
		if (left - 16 < size)
			return MORE;
		seconds = number(s, head[0]);
		fraction = number(s, head[1]);
		if (unlikely(fraction >= s->resolution)) {
			seconds += fraction / s->resolution;
			fraction %= s->resolution;
			if (seconds > U32_MAX)
				return ODD;
		}
		if (!a) {
			s->packets++;
			s->in += 16 + size;
			continue;
		}
		if (unlikely(no_room(s, size + 16)))
			return FULL;
		outcome = give(s, data, size);
		if (unlikely(outcome == RAISED))
			return STOPPED;
		s->in += 16 + size;
		if (outcome == DROPPED || !s->out)
			continue;
		out = (u32 *)s->out;
		wire = number(s, head[3]);
		if (outcome == CHANGED)
			wire = new_wire(wire, size, a->out_size);
		out[0] = number(s, seconds);
		out[1] = number(s, fraction);
		out[2] = number(s, a->out_size);
		out[3] = number(s, wire);
		copy(out + 4, (void *)a->out, a->out_size);
		note_length(s->interfaces, a->out_size);
		s->out += 16 + a->out_size;
	}
}

/* All options but the hash of the packet's old bytes. */
INLINE u64 options_without_hash(struct stream *s, u64 out, u64 at, u64 end)
{
	u64 start = out, next;
	u16 code;

	while (at + 4 <= end) {
		code = number16(s, *(u16 *)at);
		next = at + 4 + ALIGN4(number16(s, *(u16 *)(at + 2)));
		if (!code || next > end)
			break;
		if (code != 3) {
			copy((void *)out, (void *)at, next - at);
			out += next - at;
		}
		at = next;
	}
	if (out != start) {
		*(u32 *)out = 0;
		out += 4;
	}
	return out;
}

/* The packet and zeros up to a multiple of four; where they end. */
INLINE u64 put_padded(u64 out, u64 data, u64 size)
{
	if (size & 3)
		*(u32 *)(out + (size & ~3ull)) = 0;
	copy((void *)out, (void *)data, size);
	return out + ALIGN4(size);
}

INLINE void end_block(struct stream *s, u32 *out, u64 end)
{
	u32 size = number(s, end + 4 - (u64)out);

	out[1] = size;
	*(u32 *)end = size;
	s->out = end + 4;
}

/* A block of the new bytes of a packet, or of the old ones where only the padding may differ. */
INLINE void put_enhanced(struct stream *s, u32 index, u32 high, u32 low, u32 wire, u64 options, u64 options_end, int same)
{
	u32 *out = (u32 *)s->out;
	struct arena *a = s->arena;
	u64 end;

	out[0] = number(s, ENHANCED_PACKET);
	out[2] = index;
	out[3] = high;
	out[4] = low;
	out[5] = number(s, a->out_size);
	out[6] = number(s, wire);
	end = put_padded((u64)(out + 7), a->out, a->out_size);
	if (options != options_end) {
		if (same) {
			copy((void *)end, (void *)options, options_end - options);
			end += options_end - options;
		} else {
			end = options_without_hash(s, end, options, options_end);
		}
	}
	end_block(s, out, end);
}

INLINE void put_simple(struct stream *s, u32 wire)
{
	u32 *out = (u32 *)s->out;
	struct arena *a = s->arena;

	out[0] = number(s, SIMPLE_PACKET);
	out[2] = number(s, wire);
	end_block(s, out, put_padded((u64)(out + 3), a->out, a->out_size));
}

INLINE enum stop pcapng(struct stream *s)
{
	struct arena *a = s->arena;

	for (;;) {
		u64 left = s->in_end - s->in, length, size, room, wire, derived;
		u32 *head = (u32 *)s->in, kind, index = 0;
		struct interface *interface;
		enum outcome outcome;
		const u8 *data;

		if (left < 12)
			return MORE;
		kind = number(s, head[0]);
		length = number(s, head[1]);
		if (unlikely(head[0] == SECTION || kind == INTERFACE || kind == OLD_PACKET))
			return ODD;
		if (unlikely(length < 12 || length & 3 || length > MAX_BLOCK))
			return ODD;
		if (left < length)
			return MORE;
		if (unlikely(*(u32 *)(s->in + length - 4) != head[1]))
			return ODD;
		if (unlikely(no_room(s, length)))
			return FULL;
		if (kind != ENHANCED_PACKET && kind != SIMPLE_PACKET) {
			if (a && s->out) {
				copy((void *)s->out, head, length);
				s->out += length;
			}
			s->in += length;
			continue;
		}
		room = kind == ENHANCED_PACKET ? 32 : 16;
		if (unlikely(length < room))
			return ODD;
		room = length - room;
		data = (const u8 *)s->in + (kind == ENHANCED_PACKET ? 28 : 12);
		if (kind == ENHANCED_PACKET)
			index = number(s, head[2]);
		if (unlikely(index >= s->interface_count))
			return ODD;
		interface = s->interfaces + index;
		if (kind == ENHANCED_PACKET) {
			size = number(s, head[5]);
			wire = number(s, head[6]);
		} else {
			wire = number(s, head[2]);
			size = interface->snaplen && interface->snaplen < wire ? interface->snaplen : wire;
		}
		if (unlikely(size > room || size > MAX_PACKET || !interface->usable))
			return ODD;
		if (!a) {
			s->packets++;
			s->in += length;
			continue;
		}
		outcome = give(s, data, size);
		if (unlikely(outcome == RAISED))
			return STOPPED;
		s->in += length;
		if (outcome == DROPPED || !s->out)
			continue;
		note_length(interface, a->out_size);
		if (outcome == CHANGED)
			wire = new_wire(wire, size, a->out_size);
		if (kind == ENHANCED_PACKET) {
			put_enhanced(s, head[2], head[3], head[4], wire, (u64)data + ALIGN4(size), (u64)head + length - 4,
				     outcome == SAME);
			continue;
		}
		derived = interface->snaplen && interface->snaplen < wire ? interface->snaplen : wire;
		if (derived == a->out_size)
			put_simple(s, wire);
		else
			put_enhanced(s, 0, 0, 0, wire, 0, 0, 1);
	}
}

NATIVE u64 run_pcap(struct stream *s)
{
	u64 start = clock_ns(1);
	enum stop stop = pcap(s);

	if (s->arena)
		s->arena->duration += clock_ns(1) - start;
	return stop;
}

NATIVE u64 run_pcapng(struct stream *s)
{
	u64 start = clock_ns(1);
	enum stop stop = pcapng(s);

	if (s->arena)
		s->arena->duration += clock_ns(1) - start;
	return stop;
}
