/* SPDX-License-Identifier: Apache-2.0 */
/* Apps.Console and Apps.Output: the call's connection goes to the keeper of a VM that runs. */
#include "daemon/desk_app.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct app *running_vm(struct desk *d, struct client *c)
{
	const char *name = NULL;
	uint32_t owner;
	bool said;
	if (!c->call.upgrade) {
		client_fail(d, c, "org.sekisho.Failed", "this must be called with \"upgrade\"");
		return NULL;
	}
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
