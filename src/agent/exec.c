/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/exec.h"

#include "base/rd.h"

#include <string.h>

/* Exactly `n` NUL-ended strings. */
static bool strings_ok(const char *s, size_t len, size_t n)
{
	size_t seen = 0;
	for (size_t i = 0; i < len; i++)
		seen += s[i] == 0;
	return seen == n && (len == 0 || s[len - 1] == 0);
}

static void put_text(struct wr *w, const char *s, size_t cap)
{
	size_t len = strnlen(s, cap);
	if (len == cap)
		w->err = true;
	wr_u16(w, (uint16_t)len);
	wr_bytes(w, s, len);
}

static bool get_bool(struct rd *r)
{
	uint8_t v = rd_u8(r);
	if (v > 1)
		rd_fail(r);
	return v == 1;
}

static void get_text(struct rd *r, char *ret, size_t cap)
{
	size_t len = rd_u16(r);
	const uint8_t *s = rd_bytes(r, len);
	if (s == NULL || len >= cap || memchr(s, 0, len) != NULL) {
		rd_fail(r);
		return;
	}
	memcpy(ret, s, len);
	memset(ret + len, 0, cap - len);
}

static void put_addr(struct wr *w, const struct addr *a)
{
	if (a->len != 0 && a->len != 4 && a->len != 16)
		w->err = true;
	wr_u8(w, a->len);
	wr_bytes(w, a->b, a->len);
}

/* `family` is the length the field must have when it is there; 0: either. */
static void get_addr(struct rd *r, struct addr *ret, uint8_t family)
{
	struct addr a = { .len = rd_u8(r) };
	if (a.len != 0 && (family != 0 ? a.len != family : a.len != 4 && a.len != 16)) {
		rd_fail(r);
		return;
	}
	rd_copy(r, a.b, a.len);
	*ret = a;
}

static void put_shares(struct wr *w, const struct agent_exec *e)
{
	if (e->n_shares > AGENT_SHARES_MAX) {
		w->err = true;
		return;
	}
	wr_u8(w, e->n_shares);
	wr_u8(w, e->share_home);
	for (unsigned i = 0; i < e->n_shares; i++)
		put_text(w, e->share[i], sizeof(e->share[i]));
}

static void get_shares(struct rd *r, struct agent_exec *ret)
{
	ret->n_shares = rd_u8(r);
	ret->share_home = get_bool(r);
	if (ret->n_shares > AGENT_SHARES_MAX || (ret->share_home && ret->n_shares == 0)) {
		rd_fail(r);
		return;
	}
	for (unsigned i = 0; i < ret->n_shares; i++)
		get_text(r, ret->share[i], sizeof(ret->share[i]));
}

bool agent_exec_put(struct wr *w, const struct agent_exec *e)
{
	if (e->strings_len > AGENT_STRINGS_MAX || e->argc == 0 || e->argc > AGENT_ARGS_MAX ||
		e->envc > AGENT_ARGS_MAX || !strings_ok(e->strings, e->strings_len, (size_t)e->argc + e->envc))
		return false;
	wr_u32(w, e->uid);
	wr_u32(w, e->gid);
	wr_u8(w, e->guest_user);
	put_text(w, e->user, sizeof(e->user));
	put_text(w, e->home, sizeof(e->home));
	put_text(w, e->cwd, sizeof(e->cwd));
	put_text(w, e->hostname, sizeof(e->hostname));
	put_shares(w, e);
	wr_u8(w, e->tty);
	wr_u16(w, e->rows);
	wr_u16(w, e->cols);
	wr_u8(w, e->has_net);
	wr_bytes(w, e->mac.b, sizeof(e->mac.b));
	put_addr(w, &e->v4);
	put_addr(w, &e->v4_gateway);
	put_addr(w, &e->v6);
	put_addr(w, &e->v6_gateway);
	wr_u8(w, e->v4_prefix);
	wr_u8(w, e->v6_prefix);
	put_addr(w, &e->dns[0]);
	put_addr(w, &e->dns[1]);
	wr_u64(w, (uint64_t)e->wall_us);
	wr_bytes(w, e->seed, sizeof(e->seed));
	wr_bytes(w, e->sync, sizeof(e->sync));
	wr_u16(w, e->argc);
	wr_u16(w, e->envc);
	wr_u32(w, e->strings_len);
	wr_bytes(w, e->strings, e->strings_len);
	return wr_ok(w);
}

static void get_net(struct rd *r, struct agent_exec *ret)
{
	ret->has_net = get_bool(r);
	rd_copy(r, ret->mac.b, sizeof(ret->mac.b));
	get_addr(r, &ret->v4, 4);
	get_addr(r, &ret->v4_gateway, 4);
	get_addr(r, &ret->v6, 16);
	get_addr(r, &ret->v6_gateway, 16);
	ret->v4_prefix = rd_u8(r);
	ret->v6_prefix = rd_u8(r);
	if (ret->v4_prefix > 32 || ret->v6_prefix > 128)
		rd_fail(r);
	get_addr(r, &ret->dns[0], 0);
	get_addr(r, &ret->dns[1], 0);
}

bool agent_exec_get(const void *body, size_t len, struct agent_exec *ret)
{
	struct rd r = rd_init(body, len);
	memset(ret, 0, sizeof(*ret));
	ret->uid = rd_u32(&r);
	ret->gid = rd_u32(&r);
	ret->guest_user = get_bool(&r);
	get_text(&r, ret->user, sizeof(ret->user));
	get_text(&r, ret->home, sizeof(ret->home));
	get_text(&r, ret->cwd, sizeof(ret->cwd));
	get_text(&r, ret->hostname, sizeof(ret->hostname));
	get_shares(&r, ret);
	ret->tty = get_bool(&r);
	ret->rows = rd_u16(&r);
	ret->cols = rd_u16(&r);
	get_net(&r, ret);
	ret->wall_us = (int64_t)rd_u64(&r);
	rd_copy(&r, ret->seed, sizeof(ret->seed));
	rd_copy(&r, ret->sync, sizeof(ret->sync));
	ret->argc = rd_u16(&r);
	ret->envc = rd_u16(&r);
	ret->strings_len = rd_u32(&r);
	if (ret->strings_len > AGENT_STRINGS_MAX || ret->argc == 0 || ret->argc > AGENT_ARGS_MAX ||
		ret->envc > AGENT_ARGS_MAX)
		return false;
	rd_copy(&r, ret->strings, ret->strings_len);
	return rd_done(&r) && strings_ok(ret->strings, ret->strings_len, (size_t)ret->argc + ret->envc);
}
