/* SPDX-License-Identifier: Apache-2.0 */
/* Apps.Console and Apps.Output: the call's connection goes to the keeper of a VM that runs. Apps.Freeze and Apps.Thaw.
 */
#include "desk/app.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_ID 0x40000000U

static struct app *running_vm(struct desk *d, struct client *c)
{
	const char *name = NULL;
	uint32_t owner;
	bool said;
	if (!arg_app(d, c, true, &name) || !arg_owner(d, c, &owner, &said))
		return NULL;
	struct app *a = app_by_name(d, owner, name);
	if (a == NULL) {
		client_no_such(d, c, "app", name);
		return NULL;
	}
	if (a->kind != APP_VM || a->state != APP_RUNNING || a->vm_ending) {
		client_fail(d, c, "org.sekisho.Failed",
			a->kind == APP_VM ? "%s is just starting or ending; try again"
					  : "%s is an attached interface: its program is not ours",
			name);
		return NULL;
	}
	return a;
}

static void hand_over(struct desk *d, struct client *c, struct ipc_vm_attach *m)
{
	if (!c->call.upgrade) {
		client_fail(d, c, "org.sekisho.Failed", "this must be called with \"upgrade\"");
		return;
	}
	struct app *a = running_vm(d, c);
	if (a == NULL)
		return;
	m->ref = a->gate.ref;
	client_reply(d, c,
		json_pack("{s:s, s:o, s:i}", "app", a->gate.name, "owner", owner_json(d, a->gate.owner), "run",
			(int)a->gate.ref.run));
	int fd = client_take_fd(d, c);
	/* One that cannot be handed over is closed, which its client understands. */
	if (fd >= 0) {
		(void)role_send_msg(d->role, ROLE_MAIN, IPC_VM_ATTACH, 0, vm_attach, m, &fd, 1);
		close(fd);
	}
}

void apps_console(struct desk *d, struct client *c)
{
	int64_t rows = 0, cols = 0;
	if (!arg_int(d, c, "rows", 0, UINT16_MAX, &rows) || !arg_int(d, c, "cols", 0, UINT16_MAX, &cols))
		return;
	hand_over(d, c, &(struct ipc_vm_attach){ .rows = (uint16_t)rows, .cols = (uint16_t)cols });
}

void apps_output(struct desk *d, struct client *c)
{
	hand_over(d, c, &(struct ipc_vm_attach){ .output = true });
}

static void freeze(struct desk *d, struct client *c, bool hold)
{
	struct app *a = running_vm(d, c);
	if (a == NULL)
		return;
	struct ipc_vm_pause m = { .ref = a->gate.ref, .hold = hold };
	uint32_t id = PAUSE_ID | a->gate.ref.slot;
	if (a->frozen == hold) {
		client_reply(d, c, NULL);
	} else if (a->freeze_client >= 0) {
		client_fail(d, c, "org.sekisho.Changed", "%s is being frozen or thawed already", a->gate.name);
	} else if (!role_send_msg(d->role, ROLE_MAIN, IPC_VM_PAUSE, id, vm_pause, &m, NULL, 0)) {
		client_fail(d, c, "org.sekisho.Failed", "the daemon is stopping");
	} else {
		a->freeze_client = (int)(c - d->clients);
		a->freezing = hold;
		c->wait = CLIENT_APP;
	}
}

void apps_freeze(struct desk *d, struct client *c)
{
	freeze(d, c, true);
}

void apps_thaw(struct desk *d, struct client *c)
{
	freeze(d, c, false);
}

void app_frozen(struct desk *d, const struct ipc_app_ref *ref)
{
	struct app *a = app_by_ref(d, ref);
	if (a != NULL)
		a->frozen = true;
}

bool app_pause_result(struct desk *d, uint32_t id, const struct ipc_result *r)
{
	if ((id & PAUSE_ID) == 0 || (id & ~PAUSE_ID) >= PLAN_SLOTS)
		return false;
	struct app *a = &d->apps[id & ~PAUSE_ID];
	if (a->state == APP_FREE)
		return true;
	if (r->err == 0) {
		a->frozen = a->freezing;
		log_app(d, a, a->frozen ? "app-frozen" : "app-thawed", NULL);
	}
	struct client *c = a->freeze_client < 0 ? NULL : &d->clients[a->freeze_client];
	a->freeze_client = -1;
	if (c != NULL && r->err == 0)
		client_reply(d, c, NULL);
	else if (c != NULL)
		client_fail(d, c, "org.sekisho.Failed", "%s", r->text.s);
	return true;
}
