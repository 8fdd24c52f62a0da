/* SPDX-License-Identifier: Apache-2.0 */
#include "base/name.h"

#include <stdio.h>
#include <string.h>

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool name_from_wire(const uint8_t *wire, size_t len, struct name *ret)
{
	if (len == 0 || len > NAME_WIRE_MAX)
		return false;
	struct name n = { .len = (uint8_t)len };
	size_t i = 0;
	while (wire[i] != 0) {
		size_t label = wire[i];
		/* The label and the length byte of the next one must be there. */
		if (label > NAME_LABEL_MAX || label + 1 >= len - i)
			return false;
		n.wire[i] = (uint8_t)label;
		for (size_t k = 1; k <= label; k++)
			n.wire[i + k] = fold(wire[i + k]);
		i += label + 1;
	}
	if (i + 1 != len)
		return false;
	*ret = n;
	return true;
}

bool name_from_text(const char *text, size_t len, struct name *ret)
{
	if (len != 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > NAME_WIRE_MAX - 2)
		return false;
	struct name n = { .len = (uint8_t)(len + 2) };
	size_t start = 0;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && text[i] != '.') {
			n.wire[i + 1] = fold((uint8_t)text[i]);
			if (!plain(n.wire[i + 1]))
				return false;
			continue;
		}
		size_t label = i - start;
		if (label == 0 || label > NAME_LABEL_MAX)
			return false;
		n.wire[start] = (uint8_t)label;
		start = i + 1;
	}
	n.wire[len + 1] = 0;
	*ret = n;
	return true;
}

const char *name_format(const struct name *n, char *buf, size_t cap)
{
	size_t at = 0;
	if (cap == 0)
		return buf;
	if (n->len <= 1) {
		snprintf(buf, cap, ".");
		return buf;
	}
	for (size_t i = 0; n->wire[i] != 0; i += n->wire[i] + 1U) {
		if (i != 0 && at + 1 < cap)
			buf[at++] = '.';
		for (size_t k = 1; k <= n->wire[i] && at + 5 < cap; k++) {
			uint8_t c = n->wire[i + k];
			if (c > ' ' && c < 0x7f && c != '.' && c != '\\')
				buf[at++] = (char)c;
			else
				at += (size_t)snprintf(buf + at, cap - at, "\\%03u", c);
		}
	}
	buf[at < cap ? at : cap - 1] = '\0';
	return buf;
}

bool name_equal(const struct name *a, const struct name *b)
{
	return a->len == b->len && memcmp(a->wire, b->wire, a->len) == 0;
}

unsigned name_labels(const struct name *n)
{
	unsigned labels = 0;
	for (size_t i = 0; i < n->len && n->wire[i] != 0; i += n->wire[i] + 1U)
		labels++;
	return labels;
}

struct name name_parent(const struct name *n, unsigned n_labels)
{
	size_t off = 0;
	while (n_labels-- > 0 && n->wire[off] != 0)
		off += n->wire[off] + 1U;
	struct name p = { .len = (uint8_t)(n->len - off) };
	memcpy(p.wire, n->wire + off, p.len);
	return p;
}

bool name_within(const struct name *n, const struct name *apex, bool below)
{
	unsigned have = name_labels(n), want = name_labels(apex);
	if (have < want || (below && have == want))
		return false;
	size_t off = 0;
	for (unsigned skip = have - want; skip > 0; skip--)
		off += n->wire[off] + 1U;
	return (size_t)n->len - off == apex->len && memcmp(n->wire + off, apex->wire, apex->len) == 0;
}

bool name_is_plain(const struct name *n)
{
	for (size_t i = 0; i < n->len && n->wire[i] != 0; i += n->wire[i] + 1U) {
		for (size_t k = 1; k <= n->wire[i]; k++) {
			if (!plain(n->wire[i + k]))
				return false;
		}
	}
	return true;
}

uint64_t name_hash(const struct name *n, uint64_t seed)
{
	/* FNV-1a with a final mix (splitmix64): tables take low bits. */
	uint64_t h = seed ^ 0xcbf29ce484222325U;
	for (size_t i = 0; i < n->len; i++)
		h = (h ^ n->wire[i]) * 0x100000001b3U;
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9U;
	h = (h ^ h >> 27) * 0x94d049bb133111ebU;
	return h ^ h >> 31;
}
