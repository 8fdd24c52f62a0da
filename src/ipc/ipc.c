/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/ipc.h"

#include <errno.h>
#include <string.h>

/*
 * One description of each message serves both directions: `io` either writes the field it is given or reads it, so that
 * what one role writes and the other reads cannot drift apart.
 */
struct io {
	struct wr *w; /* writing when not NULL */
	struct rd r;
};

static void io_u8(struct io *io, uint8_t *v)
{
	if (io->w != NULL)
		wr_u8(io->w, *v);
	else
		*v = rd_u8(&io->r);
}

static void io_u16(struct io *io, uint16_t *v)
{
	if (io->w != NULL)
		wr_u16(io->w, *v);
	else
		*v = rd_u16(&io->r);
}

static void io_u32(struct io *io, uint32_t *v)
{
	if (io->w != NULL)
		wr_u32(io->w, *v);
	else
		*v = rd_u32(&io->r);
}

static void io_u64(struct io *io, uint64_t *v)
{
	if (io->w != NULL)
		wr_u64(io->w, *v);
	else
		*v = rd_u64(&io->r);
}

static void io_i32(struct io *io, int32_t *v)
{
	uint32_t u = (uint32_t)*v;
	io_u32(io, &u);
	*v = (int32_t)u;
}

static void io_i64(struct io *io, int64_t *v)
{
	uint64_t u = (uint64_t)*v;
	io_u64(io, &u);
	*v = (int64_t)u;
}

static void io_bool(struct io *io, bool *v)
{
	uint8_t u = *v ? 1 : 0;
	io_u8(io, &u);
	if (u > 1)
		rd_fail(&io->r);
	*v = u == 1;
}

static void io_raw(struct io *io, void *p, size_t len)
{
	if (io->w != NULL)
		wr_bytes(io->w, p, len);
	else
		rd_copy(&io->r, p, len);
}

static void io_addr(struct io *io, struct addr *a)
{
	io_u8(io, &a->len);
	if (a->len != 0 && a->len != 4 && a->len != 16) {
		rd_fail(&io->r);
		return;
	}
	io_raw(io, a->b, a->len);
}

static void io_mac(struct io *io, struct mac *m)
{
	io_raw(io, m->b, sizeof(m->b));
}

static void io_name(struct io *io, struct name *n)
{
	uint8_t len = n->len;
	io_u8(io, &len);
	if (io->w != NULL) {
		wr_bytes(io->w, n->wire, len);
		return;
	}
	const uint8_t *wire = rd_bytes(&io->r, len);
	if (wire != NULL && len != 0 && !name_from_wire(wire, len, n))
		rd_fail(&io->r);
}

/* A string in an array of `cap` bytes: NUL-ended, none inside. */
static void io_str(struct io *io, char *s, size_t cap)
{
	uint16_t len = io->w != NULL ? (uint16_t)strnlen(s, cap - 1) : 0;
	io_u16(io, &len);
	if (io->w == NULL && len >= cap) {
		rd_fail(&io->r);
		return;
	}
	io_raw(io, s, len);
	s[len] = '\0';
	if (memchr(s, '\0', len) != NULL)
		rd_fail(&io->r);
}

static void io_text(struct io *io, struct ipc_text *t)
{
	io_str(io, t->s, sizeof(t->s));
	t->len = (uint16_t)strlen(t->s);
}

static void io_u32_msg(struct io *io, struct ipc_u32 *m)
{
	io_u32(io, &m->v);
}

static void io_result(struct io *io, struct ipc_result *m)
{
	io_i32(io, &m->err);
	io_u32(io, &m->value);
	io_text(io, &m->text);
}

static void io_app_ref(struct io *io, struct ipc_app_ref *m)
{
	io_u16(io, &m->slot);
	io_u32(io, &m->run);
}

static void io_app(struct io *io, struct ipc_app *m)
{
	io_app_ref(io, &m->ref);
	io_u32(io, &m->owner);
	io_str(io, m->name, sizeof(m->name));
	io_u32(io, &m->ofport);
	io_u16(io, &m->zone);
	io_u16(io, &m->names_zone);
	io_mac(io, &m->mac);
	io_addr(io, &m->v4);
	io_addr(io, &m->v4_gateway);
	io_addr(io, &m->v6);
	io_u8(io, &m->ask);
	io_bool(io, &m->fragments);
	io_u16(io, &m->new_names_per_min);
}

static void io_port(struct io *io, struct ipc_port *m)
{
	io_str(io, m->ifname, sizeof(m->ifname));
	io_u32(io, &m->ofport);
	io_app_ref(io, &m->ref);
}

static void io_switch(struct io *io, struct ipc_switch *m)
{
	io_u32(io, &m->names_ofport);
	io_u32(io, &m->uplink_ofport);
	io_mac(io, &m->names_mac);
	io_mac(io, &m->uplink_mac);
	io_u8(io, &m->uplink_kind);
	io_bool(io, &m->has_v4);
	io_bool(io, &m->has_v6);
	io_bool(io, &m->kernel_datapath);
	io_u64(io, &m->epoch);
}

static void io_zone(struct io *io, struct ipc_zone *m)
{
	io_u16(io, &m->zone);
	io_u32(io, &m->limit);
	io_bool(io, &m->keep);
}

static void io_cut(struct io *io, struct ipc_cut *m)
{
	io_u16(io, &m->zone);
	io_u32(io, &m->mark);
}

static void io_policy(struct io *io, struct ipc_policy *m)
{
	io_u64(io, &m->generation);
	io_u64(io, &m->base);
	io_u32(io, &m->len);
	io_u32(io, &m->more_len);
	io_u32(io, &m->n_gone);
}

static void io_block(struct io *io, struct ipc_block *m)
{
	io_u32(io, &m->first);
	io_u32(io, &m->count);
}

static void io_grant(struct io *io, struct ipc_grant *m)
{
	io_u32(io, &m->grant);
	io_app_ref(io, &m->ref);
	io_u8(io, &m->inbound);
	io_u8(io, &m->proto);
	io_u16(io, &m->port);
	io_addr(io, &m->peer);
	io_addr(io, &m->real);
	io_name(io, &m->name);
	io_raw(io, m->rule, sizeof(m->rule));
	io_app_ref(io, &m->other);
	io_raw(io, m->rule_in, sizeof(m->rule_in));
	io_i64(io, &m->since_wall_ms);
}

static void io_grant_end(struct io *io, struct ipc_grant_end *m)
{
	io_u32(io, &m->grant);
	io_u64(io, &m->bytes_out);
	io_u64(io, &m->bytes_in);
	io_u64(io, &m->connections);
	io_text(io, &m->reason);
}

static void io_syn(struct io *io, struct ipc_syn *m)
{
	io_app_ref(io, &m->ref);
	io_u32(io, &m->index);
	io_name(io, &m->name);
}

static void io_question(struct io *io, struct ipc_question *m)
{
	io_u32(io, &m->number);
	io_app_ref(io, &m->ref);
	io_u8(io, &m->inbound);
	io_u8(io, &m->proto);
	io_u16(io, &m->port);
	io_bool(io, &m->withheld);
	io_name(io, &m->name);
	io_addr(io, &m->address);
	io_u16(io, &m->peer_slot);
	io_i64(io, &m->held_wall_ms);
	io_i64(io, &m->gives_up_wall_ms);
}

static void io_charge(struct io *io, struct ipc_charge *m)
{
	io_raw(io, m->rule, sizeof(m->rule));
	io_app_ref(io, &m->ref);
}

static void io_check(struct io *io, struct ipc_check *m)
{
	io_bool(io, &m->ok);
	io_str(io, m->name, sizeof(m->name));
	io_text(io, &m->text);
	io_text(io, &m->fix);
}

static void io_forwards(struct io *io, struct ipc_forwards *m)
{
	io_u8(io, &m->n);
	if (m->n > IPC_FORWARDS_MAX) {
		rd_fail(&io->r);
		return;
	}
	for (unsigned i = 0; i < m->n; i++) {
		io_u8(io, &m->f[i].proto);
		io_u16(io, &m->f[i].port);
		io_addr(io, &m->f[i].v4);
		io_addr(io, &m->f[i].v6);
	}
}

static void io_event(struct io *io, struct ipc_event *m)
{
	io_u8(io, &m->kind);
	io_u8(io, &m->verdict);
	io_app_ref(io, &m->ref);
	io_u8(io, &m->inbound);
	io_u8(io, &m->proto);
	io_u16(io, &m->port);
	io_name(io, &m->name);
	io_addr(io, &m->address);
	io_raw(io, m->rule, sizeof(m->rule));
	io_u32(io, &m->grant);
	io_text(io, &m->text);
}

static void io_used(struct io *io, struct ipc_used *m)
{
	io_raw(io, m->rule, sizeof(m->rule));
	io_u32(io, &m->count);
}

static void io_lookup(struct io *io, struct ipc_lookup *m)
{
	io_addr(io, &m->client);
	io_u16(io, &m->qtype);
	io_name(io, &m->name);
}

static void io_lookup_answer(struct io *io, struct ipc_lookup_answer *m)
{
	io_u8(io, &m->kind);
	io_u32(io, &m->ttl);
	io_addr(io, &m->address);
	io_name(io, &m->target);
	io_u16(io, &m->ede);
	io_text(io, &m->text);
}

static void io_resolve(struct io *io, struct ipc_resolve *m)
{
	io_name(io, &m->name);
	io_bool(io, &m->want_v4);
	io_bool(io, &m->want_v6);
}

static void io_resolved(struct io *io, struct ipc_resolved *m)
{
	io_u8(io, &m->status);
	io_u32(io, &m->ttl);
	io_u8(io, &m->n_chain);
	io_u8(io, &m->n_v4);
	io_u8(io, &m->n_v6);
	if (m->n_chain > IPC_CHAIN_MAX || m->n_v4 > IPC_ADDRS_MAX || m->n_v6 > IPC_ADDRS_MAX) {
		rd_fail(&io->r);
		return;
	}
	for (unsigned i = 0; i < m->n_chain; i++)
		io_name(io, &m->chain[i]);
	for (unsigned i = 0; i < m->n_v4; i++)
		io_addr(io, &m->v4[i]);
	for (unsigned i = 0; i < m->n_v6; i++)
		io_addr(io, &m->v6[i]);
}

static void io_relay(struct io *io, struct ipc_relay *m)
{
	io_u32(io, &m->lookup_id);
	io_u16(io, &m->qtype);
	io_name(io, &m->name);
}

static void io_relayed(struct io *io, struct ipc_relayed *m)
{
	io_u8(io, &m->rcode);
	io_u16(io, &m->n_records);
	io_u32(io, &m->len);
	if (m->len > IPC_RELAY_MAX)
		rd_fail(&io->r);
	else
		io_raw(io, m->records, m->len);
}

static void io_vm_addresses(struct io *io, struct ipc_vm *m)
{
	io_mac(io, &m->mac);
	io_addr(io, &m->v4);
	io_addr(io, &m->v4_gateway);
	io_addr(io, &m->v6);
	io_addr(io, &m->v6_gateway);
	io_addr(io, &m->dns4);
	io_addr(io, &m->dns6);
	io_u8(io, &m->v4_prefix);
	io_u8(io, &m->v6_prefix);
	io_str(io, m->tap, sizeof(m->tap));
}

unsigned ipc_root_fds(const struct ipc_root *r)
{
	return (r->kind == IPC_ROOT_IMAGE) + r->layer;
}

static void io_root(struct io *io, struct ipc_root *m)
{
	io_u8(io, &m->kind);
	io_bool(io, &m->layer);
	if (m->kind >= IPC_ROOT_KINDS)
		rd_fail(&io->r);
}

static void io_shares(struct io *io, struct ipc_shares *m)
{
	io_u32(io, &m->uid);
	io_u32(io, &m->gid);
	io_u8(io, &m->n);
	io_u8(io, &m->home);
	if (m->n > IPC_SHARES_MAX || m->home >= IPC_HOMES || (m->home != IPC_HOME_NONE && m->n == 0)) {
		rd_fail(&io->r);
		return;
	}
	for (unsigned i = 0; i < m->n; i++)
		io_str(io, m->path[i], sizeof(m->path[i]));
}

static void io_vm(struct io *io, struct ipc_vm *m)
{
	io_app_ref(io, &m->ref);
	io_u32(io, &m->uid);
	io_u32(io, &m->gid);
	io_str(io, m->name, sizeof(m->name));
	io_root(io, &m->root);
	io_shares(io, &m->shares);
	io_bool(io, &m->guest_user);
	io_str(io, m->user, sizeof(m->user));
	io_str(io, m->home, sizeof(m->home));
	io_str(io, m->cwd, sizeof(m->cwd));
	io_vm_addresses(io, m);
	io_u32(io, &m->memory_mib);
	io_u16(io, &m->cpus);
	io_bool(io, &m->tty);
	io_u16(io, &m->rows);
	io_u16(io, &m->cols);
	io_bool(io, &m->tso);
	io_bool(io, &m->detach);
	io_bool(io, &m->warm);
	io_raw(io, m->sync, sizeof(m->sync));
	io_u16(io, &m->argc);
	io_u16(io, &m->envc);
	io_u32(io, &m->strings_len);
	if (m->strings_len > IPC_ARGV_BYTES) {
		rd_fail(&io->r);
		return;
	}
	io_raw(io, m->strings, m->strings_len);
	size_t ends = 0;
	for (size_t i = 0; i < m->strings_len; i++)
		ends += m->strings[i] == '\0';
	if (ends != (size_t)m->argc + m->envc || (ends > 0 && m->strings[m->strings_len - 1] != '\0'))
		rd_fail(&io->r);
}

static void io_auth_peer(struct io *io, struct ipc_auth_peer *m)
{
	io_u32(io, &m->client);
	io_u32(io, &m->pid);
	io_u32(io, &m->uid);
	if (m->client >= IPC_AUTH_CLIENTS)
		rd_fail(&io->r);
}

static void io_auth_ask(struct io *io, struct ipc_auth_ask *m)
{
	io_u32(io, &m->client);
	io_u8(io, &m->action);
	if (m->client >= IPC_AUTH_CLIENTS || m->action >= AUTH_ACTIONS)
		rd_fail(&io->r);
}

static void io_auth_state(struct io *io, struct ipc_auth_state *m)
{
	io_bool(io, &m->polkit);
	io_bool(io, &m->logind);
	io_u16(io, &m->n);
	if (m->n > IPC_AUTH_UIDS) {
		rd_fail(&io->r);
		return;
	}
	for (unsigned i = 0; i < m->n; i++)
		io_u32(io, &m->uid[i]);
}

static void io_list(struct io *io, struct ipc_list *m)
{
	io_str(io, m->id, sizeof(m->id));
	io_u32(io, &m->len);
}

static void io_list_tags(struct io *io, struct ipc_list_tags *m)
{
	io_str(io, m->etag, sizeof(m->etag));
	io_str(io, m->modified, sizeof(m->modified));
}

static void io_fetch(struct io *io, struct ipc_fetch *m)
{
	io_str(io, m->source, sizeof(m->source));
	io_list_tags(io, &m->tags);
	io_u64(io, &m->key[0]);
	io_u64(io, &m->key[1]);
}

static void io_fetched(struct io *io, struct ipc_fetched *m)
{
	io_i32(io, &m->err);
	io_bool(io, &m->unchanged);
	io_list_tags(io, &m->tags);
	uint32_t *const numbers[] = { &m->len, &m->n_names, &m->n_nets, &m->n_browser, &m->n_exceptions, &m->n_bad };
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		io_u32(io, numbers[i]);
	io_text(io, &m->text);
}

static void io_vm_exit(struct io *io, struct ipc_vm_exit *m)
{
	io_app_ref(io, &m->ref);
	io_bool(io, &m->known);
	io_u8(io, &m->status);
	io_text(io, &m->text);
}

static void io_vm_attach(struct io *io, struct ipc_vm_attach *m)
{
	io_app_ref(io, &m->ref);
	io_bool(io, &m->output);
	io_u16(io, &m->rows);
	io_u16(io, &m->cols);
}

static void io_vm_pause(struct io *io, struct ipc_vm_pause *m)
{
	io_app_ref(io, &m->ref);
	io_bool(io, &m->hold);
}

static void io_adopt(struct io *io, struct ipc_adopt *m)
{
	io_app_ref(io, &m->ref);
	io_raw(io, m->sync, sizeof(m->sync));
}

/* Writing never changes the message; the copy exists because `io` has one signature for both directions. */
#define IPC_CODEC(x, fn) \
	bool ipc_##x##_put(struct wr *w, const struct ipc_##x *m) \
	{ \
		static _Thread_local struct ipc_##x copy; \
		copy = *m; \
		struct io io = { .w = w }; \
		fn(&io, &copy); \
		return wr_ok(w) && rd_ok(&io.r); \
	} \
	bool ipc_##x##_get(const void *body, size_t len, struct ipc_##x *ret) \
	{ \
		static _Thread_local struct ipc_##x m; \
		memset(&m, 0, sizeof(m)); \
		struct io io = { .r = rd_init(body, len) }; \
		fn(&io, &m); \
		if (!rd_done(&io.r)) \
			return false; \
		*ret = m; \
		return true; \
	}
IPC_CODEC(text, io_text)
IPC_CODEC(u32, io_u32_msg)
IPC_CODEC(result, io_result)
IPC_CODEC(app_ref, io_app_ref)
IPC_CODEC(app, io_app)
IPC_CODEC(port, io_port)
IPC_CODEC(switch, io_switch)
IPC_CODEC(zone, io_zone)
IPC_CODEC(cut, io_cut)
IPC_CODEC(policy, io_policy)
IPC_CODEC(block, io_block)
IPC_CODEC(grant, io_grant)
IPC_CODEC(grant_end, io_grant_end)
IPC_CODEC(syn, io_syn)
IPC_CODEC(question, io_question)
IPC_CODEC(charge, io_charge)
IPC_CODEC(forwards, io_forwards)
IPC_CODEC(check, io_check)
IPC_CODEC(event, io_event)
IPC_CODEC(used, io_used)
IPC_CODEC(lookup, io_lookup)
IPC_CODEC(lookup_answer, io_lookup_answer)
IPC_CODEC(resolve, io_resolve)
IPC_CODEC(resolved, io_resolved)
IPC_CODEC(relay, io_relay)
IPC_CODEC(relayed, io_relayed)
IPC_CODEC(vm, io_vm)
IPC_CODEC(auth_peer, io_auth_peer)
IPC_CODEC(auth_ask, io_auth_ask)
IPC_CODEC(auth_state, io_auth_state)
IPC_CODEC(list, io_list)
IPC_CODEC(fetch, io_fetch)
IPC_CODEC(fetched, io_fetched)
IPC_CODEC(vm_exit, io_vm_exit)
IPC_CODEC(vm_attach, io_vm_attach)
IPC_CODEC(vm_pause, io_vm_pause)
IPC_CODEC(adopt, io_adopt)

const char *role_name(enum role_id role)
{
	static const char *const names[] = { "main", "switchd", "gate", "names", "resolver", "desk", "keeper", "auth",
		"fetch" };
	_Static_assert(sizeof(names) / sizeof(names[0]) == ROLE_COUNT, "a name for each role");
	return names[role];
}

struct wr ipc_scratch(void)
{
	static _Thread_local uint8_t buf[FRAME_BODY_MAX];
	return wr_init(buf, sizeof(buf));
}

void ipc_text_set(struct ipc_text *t, const char *s)
{
	size_t len = strnlen(s, sizeof(t->s) - 1);
	memcpy(t->s, s, len);
	t->s[len] = '\0';
	t->len = (uint16_t)len;
}

int ipc_send_result(struct frame_chan *c, uint32_t id, int err, uint32_t value, const char *text)
{
	struct ipc_result r = { .err = err, .value = value };
	ipc_text_set(&r.text, text == NULL ? "" : text);
	return ipc_send(c, IPC_RESULT, id, result, &r, NULL, 0);
}
