/* SPDX-License-Identifier: Apache-2.0 */
/* Which applications there are, and what people ask about them. */
#include "base/clock.h"
#include "base/log.h"
#include "desk/app.h"
#include "desk/rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OFPORT_BASE = 1000, ZONE_RUNS = 8192 };

struct app *app_by_ref(struct desk *d, const struct ipc_app_ref *ref)
{
	struct app *a = &d->apps[ref->slot % PLAN_SLOTS];
	return ref->slot != 0 && a->state != APP_FREE && a->gate.ref.run == ref->run ? a : NULL;
}

struct app *app_by_name(struct desk *d, uint32_t owner, const char *name)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *a = &d->apps[i];
		if (a->state != APP_FREE && a->gate.owner == owner && strcmp(a->gate.name, name) == 0)
			return a;
	}
	return NULL;
}

unsigned apps_count(const struct desk *d)
{
	unsigned n = 0;
	for (unsigned i = 1; i < PLAN_SLOTS; i++)
		n += d->apps[i].state != APP_FREE;
	return n;
}

unsigned apps_stopping(const struct desk *d)
{
	unsigned n = 0;
	for (unsigned i = 1; i < PLAN_SLOTS; i++)
		n += d->apps[i].state != APP_FREE && !(d->apps[i].kept && d->apps[i].step == STEP_NONE);
	return n;
}

void app_clear(struct app *a)
{
	free(a->error);
	free(a->ending);
	free(a->vm);
	json_decref(a->lent);
	rule_free(a->rehearsal);
	api_fds_drop(&a->blocks);
	if (a->stream >= 0)
		close(a->stream);
	*a = (struct app){ .state = APP_FREE, .client = -1, .stop_client = -1, .freeze_client = -1, .stream = -1 };
}

static bool zone_used(const struct desk *d, uint16_t zone)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && d->apps[i].gate.zone == zone)
			return true;
	}
	return false;
}

/* Addresses follow from the slot, zones from the run: what an earlier run left in conntrack is never met again soon. */
static void app_place(struct desk *d, struct app *a, uint16_t slot, uint32_t run)
{
	const struct plan *p = &d->role->conf.plan;
	uint32_t n = run % ZONE_RUNS;
	a->gate.ref = (struct ipc_app_ref){ .slot = slot, .run = run };
	while (zone_used(d, (uint16_t)(d->role->conf.zone_base + 2 * n)))
		n = (n + 1) % ZONE_RUNS;
	a->gate.zone = (uint16_t)(d->role->conf.zone_base + 2 * n);
	a->gate.names_zone = (uint16_t)(a->gate.zone + 1);
	a->gate.mac = plan_mac(slot, run, 0);
	a->gate.ofport = (uint32_t)OFPORT_BASE + slot;
	a->gate.v4 = plan_guest(p, slot, false);
	a->gate.v4_gateway = plan_gateway(p, slot, false);
	a->gate.v6 = plan_guest(p, slot, true);
}

static uint16_t free_slot(struct desk *d, uint32_t owner, bool admin)
{
	unsigned same = 0;
	uint16_t slot = 0;
	const struct plan *p = &d->role->conf.plan;
	for (uint16_t i = PLAN_SLOTS - 1; i > 0; i--) {
		/* The LAN may have fewer addresses for us than there are slots. */
		bool placed = plan_guest(p, i, false).len != 0 && plan_guest(p, i, true).len != 0;
		if (d->apps[i].state == APP_FREE)
			slot = placed ? i : slot;
		else
			same += d->apps[i].gate.owner == owner;
	}
	return !admin && same >= DESK_APPS_PER_UID ? 0 : slot;
}

static bool peer_is_app(const struct policy_peer *p, const char *name)
{
	return p->kind == POLICY_PEER_APP && strcmp(p->id, name) == 0;
}

/* A name the admin's rules speak of, as application or as peer, is lent to nobody but those whom its profile names. */
static bool rules_speak_of(const struct desk *d, const char *name)
{
	for (size_t i = 0; i < d->n_rules; i++) {
		const struct rule *r = d->rules[i];
		bool subject = r->e.rule.subject == POLICY_SUBJECT_APP && strcmp(r->e.rule.who, name) == 0;
		if (r->e.meta.origin == POLICY_ORIGIN_ADMIN && (subject || peer_is_app(&r->e.rule.peer, name)))
			return true;
	}
	for (size_t s = 0; s < d->input.n_sets; s++) {
		for (size_t i = 0; i < d->input.sets[s].n_peers; i++) {
			if (peer_is_app(&d->input.sets[s].peers[i], name))
				return true;
		}
	}
	for (size_t g = 0; g < d->input.n_groups; g++) {
		for (size_t i = 0; i < d->input.groups[g].n_apps; i++) {
			if (strcmp(d->input.groups[g].apps[i], name) == 0)
				return true;
		}
	}
	return false;
}

/* False: the caller was told that the name is not his to use. */
static bool name_lent(struct desk *d, struct client *c, const char *name)
{
	const struct profile *p = profile_of(d, name);
	if (c->admin || (p != NULL && profile_names_user(p, c->user.name)))
		return true;
	if (p != NULL && p->n_users > 0)
		client_denied(d, c, "apps/%s.conf does not name you among its users; choose another name", name);
	else if (p != NULL)
		client_denied(d, c, "apps/%s.conf names no users, so only admins may start it; choose another name",
			name);
	else if (rules_speak_of(d, name))
		client_denied(d, c,
			"the admin's rules speak of %s, so only admins and the users that apps/%s.conf names may start it; choose another name",
			name, name);
	else
		return true;
	return false;
}

struct app *app_new(struct desk *d, struct client *c, const char *name, uint32_t owner, enum app_kind kind)
{
	if (!name_lent(d, c, name))
		return NULL;
	const struct app *same = app_by_name(d, owner, name);
	if (same != NULL) {
		char text[256];
		bool ending = same->state == APP_STOPPING || same->vm_ending;
		snprintf(text, sizeof(text),
			ending ? "%s is just ending; try again"
			       : "%s runs already; stop it first (sekisho stop %s) or choose another name",
			name, name);
		client_error(d, c, "org.sekisho.Exists", json_pack("{s:s, s:b}", "text", text, "ending", ending));
		return NULL;
	}
	uint16_t slot = free_slot(d, owner, c->admin);
	uint32_t run;
	if (slot == 0) {
		client_error(d, c, "org.sekisho.Limit",
			json_pack("{s:s, s:i, s:s}", "what", "apps", "limit", (int)DESK_APPS_PER_UID, "text",
				"too many applications run; stop one"));
		return NULL;
	}
	int err = store_take(d->store, STORE_RUNS, 1, &run);
	if (err != 0) {
		client_fail(d, c, "org.sekisho.Failed", "the run cannot be stored: %s", strerror(-err));
		return NULL;
	}
	struct app *a = &d->apps[slot];
	app_clear(a);
	a->state = APP_STARTING;
	a->kind = kind;
	a->step = STEP_LINK;
	a->gate.owner = owner;
	a->started_ms = clock_wall_ms();
	snprintf(a->gate.name, sizeof(a->gate.name), "%s", name);
	app_place(d, a, slot, run);
	profile_apply(d, a);
	a->client = (int)(c - d->clients);
	c->wait = CLIENT_APP;
	return a;
}

void app_begin(struct desk *d, struct client *c, struct app *a, uint8_t ask)
{
	a->gate.ask = ask;
	int err = ask == ASK_REHEARSE ? rehearse_begin(d, a) : 0;
	if (err == 0)
		err = ask == ASK_REHEARSE ? rules_activate(d, NULL) : 0;
	if (err == 0) {
		step_begin(d, a);
		return;
	}
	if (err == -EEXIST)
		client_fail(d, c, "org.sekisho.Exists",
			"an application of that name is being rehearsed; choose another name");
	else
		client_fail(d, c, "org.sekisho.Failed", "the rehearsal cannot begin: %s", strerror(-err));
	if (a->rehearsal != NULL)
		policy_forget(d, a->rehearsal);
	app_clear(a);
}

/* Taken over from an earlier desk: the interface is made already, the rest is asked for again. */
static void app_adopt(struct desk *d, const struct store_app *s)
{
	struct app *a = &d->apps[s->slot];
	a->state = APP_STARTING;
	a->adopted = true;
	a->kind = s->kind == APP_VM ? APP_VM : APP_ATTACHED;
	a->step = STEP_PORT;
	a->started_ms = s->started_ms;
	snprintf(a->ifname, sizeof(a->ifname), "%s", s->ifname);
	snprintf(a->gate.name, sizeof(a->gate.name), "%s", s->name);
	a->gate.owner = s->owner;
	app_place(d, a, (uint16_t)s->slot, s->run);
	a->gate.zone = (uint16_t)s->zone;
	a->gate.names_zone = (uint16_t)s->names_zone;
	a->gate.mac = s->mac;
	a->gate.ask = (uint8_t)s->ask;
	if (a->gate.ask == ASK_REHEARSE && rehearse_begin(d, a) != 0)
		log_msg(LOG_ERROR, "the rehearsal of %s cannot be judged as one; it is refused all the same", s->name);
}

void apps_load(struct desk *d)
{
	struct store_rows *q;
	struct store_app s;
	for (unsigned i = 0; i < PLAN_SLOTS; i++)
		d->apps[i] = (struct app){ .client = -1, .stop_client = -1, .freeze_client = -1, .stream = -1 };
	if (store_apps(d->store, &q) != 0)
		return;
	while (store_apps_next(q, &s) == 1) {
		if (s.slot > 0 && s.slot < PLAN_SLOTS)
			app_adopt(d, &s);
	}
	store_rows_end(q);
	shares_load(d);
}

/* Calls */

bool arg_ask(struct desk *d, struct client *c, uint8_t *ret)
{
	const char *ask = "desk";
	if (!arg_str(d, c, "ask", false, &ask))
		return false;
	static const char *const modes[] = { [ASK_DESK] = "desk", [ASK_DENY] = "deny", [ASK_REHEARSE] = "rehearse" };
	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(ask, modes[i]) != 0)
			continue;
		*ret = (uint8_t)i;
		return true;
	}
	return arg_bad(d, c, "ask", "it is desk, deny or rehearse");
}

static bool port_taken(struct desk *d, const char *port)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && strcmp(d->apps[i].ifname, port) == 0)
			return true;
	}
	return false;
}

/* It is there already, just as asked for. */
static const struct app *attached_so(struct desk *d, uint32_t owner, const char *name, const char *port,
	const struct mac *mac)
{
	const struct app *a = app_by_name(d, owner, name);
	bool same = a != NULL && a->kind == APP_ATTACHED && a->state == APP_RUNNING && strcmp(a->ifname, port) == 0 &&
		    (mac == NULL || memcmp(&a->gate.mac, mac, sizeof(*mac)) == 0);
	return same ? a : NULL;
}

void apps_attach(struct desk *d, struct client *c)
{
	const char *name = NULL, *port = NULL, *mac_text = NULL;
	struct mac mac;
	uint32_t owner;
	bool said;
	uint8_t ask;
	if (!arg_app(d, c, true, &name) || !arg_str(d, c, "port", true, &port) ||
		!arg_str(d, c, "mac", false, &mac_text) || !arg_owner(d, c, &owner, &said) || !arg_ask(d, c, &ask))
		return;
	if (!c->admin) {
		client_denied(d, c, "only admins may attach an interface");
	} else if (strlen(port) == 0 || strlen(port) >= sizeof(d->apps[0].ifname) || strchr(port, '/') != NULL) {
		client_no_such(d, c, "port", port);
	} else if (mac_text != NULL && (!mac_parse(mac_text, &mac) || (mac.b[0] & 1) != 0)) {
		(void)arg_bad(d, c, "mac", "\"%.40s\" is not the MAC address of one interface", mac_text);
	} else if (attached_so(d, owner, name, port, mac_text == NULL ? NULL : &mac) != NULL) {
		client_reply(d, c, attach_json(d, app_by_name(d, owner, name), true));
	} else if (port_taken(d, port)) {
		client_fail(d, c, "org.sekisho.Exists", "%s is attached already; see sekisho ps", port);
	} else {
		struct app *a = app_new(d, c, name, owner, APP_ATTACHED);
		if (a == NULL)
			return;
		snprintf(a->ifname, sizeof(a->ifname), "%s", port);
		if (mac_text != NULL)
			a->gate.mac = mac;
		app_begin(d, c, a, ask);
	}
}

void apps_stop(struct desk *d, struct client *c, bool attached_only)
{
	const char *name = NULL;
	uint32_t owner;
	bool said;
	if (!arg_app(d, c, true, &name) || !arg_owner(d, c, &owner, &said))
		return;
	struct app *a = app_by_name(d, owner, name);
	/* An admin need not say whose it is when there is only one. */
	for (unsigned i = 1; a == NULL && c->admin && !said && i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && strcmp(d->apps[i].gate.name, name) == 0)
			a = &d->apps[i];
	}
	if (a == NULL || (attached_only && a->kind != APP_ATTACHED)) {
		client_no_such(d, c, "app", name);
		return;
	}
	if (a->kind == APP_ATTACHED && !c->admin) {
		client_denied(d, c, "only admins may detach an interface");
		return;
	}
	if (a->stop_client >= 0) {
		client_fail(d, c, "org.sekisho.Changed", "%s is being stopped already", name);
		return;
	}
	a->stop_client = (int)(c - d->clients);
	c->wait = CLIENT_APP;
	app_stop(d, a);
}

json_t *app_json(struct desk *d, const struct app *a)
{
	static const char *const states[] = { "free", "starting", "running", "stopping" };
	char mac[MAC_TEXT_MAX], v4[ADDR_TEXT_MAX], v6[ADDR_TEXT_MAX];
	json_t *lent = a->lent != NULL ? json_incref(a->lent) : shares_json(&(struct ipc_shares){ 0 });
	json_t *o = json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:o}", "app", a->gate.name, "owner",
		owner_json(d, a->gate.owner), "kind", a->kind == APP_VM ? "vm" : "attached", "state",
		a->state == APP_RUNNING && a->frozen ? "frozen" : states[a->state], "port", a->ifname, "mac",
		mac_format(&a->gate.mac, mac, sizeof(mac)), "ipv4", addr_format(&a->gate.v4, v4, sizeof(v4)), "ipv6",
		addr_format(&a->gate.v6, v6, sizeof(v6)), "run", (int)a->gate.ref.run, "started",
		time_json(a->started_ms));
	json_object_update(o, lent);
	json_decref(lent);
	return o;
}

void apps_list(struct desk *d, struct client *c)
{
	watch_begin(d, c, &(struct watch){ .kind = WATCH_APPS });
}
