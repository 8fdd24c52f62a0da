/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

struct addr addr_v4(uint32_t v)
{
	return (struct addr){ .len = 4,
		.b = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v } };
}

struct addr addr_v6(const uint8_t b[16])
{
	struct addr a = { .len = 16 };
	memcpy(a.b, b, 16);
	return a;
}

static uint32_t half_at(const uint8_t *b)
{
	uint32_t w;
	memcpy(&w, b, sizeof(w));
	return be32toh(w);
}

uint32_t addr_to_u32(const struct addr *a)
{
	return a->len == 4 ? half_at(a->b) : 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

static uint64_t word_at(const uint8_t *b)
{
	uint64_t w;
	memcpy(&w, b, sizeof(w));
	return be64toh(w);
}

bool addr_in(const struct addr *a, const struct addr *net, unsigned prefix)
{
	if (a->len != net->len || a->len == 0 || prefix > a->len * 8U)
		return false;
	if (prefix == 0)
		return true;
	if (a->len == 4)
		return (half_at(a->b) ^ half_at(net->b)) >> (32 - prefix) == 0;
	uint64_t first = word_at(a->b) ^ word_at(net->b);
	if (prefix <= 64)
		return first >> (64 - prefix) == 0;
	return first == 0 && (word_at(a->b + 8) ^ word_at(net->b + 8)) >> (128 - prefix) == 0;
}

bool addr_parse(const char *text, struct addr *ret)
{
	struct addr a = { 0 };
	if (inet_pton(AF_INET, text, a.b) == 1)
		a.len = 4;
	else if (inet_pton(AF_INET6, text, a.b) == 1)
		a.len = 16;
	else
		return false;
	*ret = a;
	return true;
}

const char *addr_format(const struct addr *a, char *buf, size_t len)
{
	if (a->len == 0 || inet_ntop(a->len == 4 ? AF_INET : AF_INET6, a->b, buf, (socklen_t)len) == NULL)
		snprintf(buf, len, "none");
	return buf;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool mac_parse(const char *text, struct mac *ret)
{
	struct mac m;
	if (strlen(text) != MAC_TEXT_MAX - 1)
		return false;
	for (unsigned i = 0; i < 6; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);
		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return false;
		m.b[i] = (uint8_t)(high << 4 | low);
	}
	*ret = m;
	return true;
}

const char *mac_format(const struct mac *m, char *buf, size_t len)
{
	snprintf(buf, len, "%02x:%02x:%02x:%02x:%02x:%02x", m->b[0], m->b[1], m->b[2], m->b[3], m->b[4], m->b[5]);
	return buf;
}

bool mac_equal(const struct mac *a, const struct mac *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}
