/* SPDX-License-Identifier: Apache-2.0 */
/* Apps.Console, Apps.Output and Apps.Exec: the call's connection goes to the keeper of a VM that runs. Apps.Freeze and
 * Apps.Thaw.
 */
#include "desk/app.h"

#include <stdio.h>
#include <stdlib.h>
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

/* One that cannot be handed over is closed, which its client understands. */
static int client_leaves(struct desk *d, struct client *c, const struct app *a)
{
	client_reply(d, c,
		json_pack("{s:s, s:o, s:i}", "app", a->gate.name, "owner", owner_json(d, a->gate.owner), "run",
			(int)a->gate.ref.run));
	return client_take_fd(d, c);
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
	int fd = client_leaves(d, c, a);
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

/* Who it is in the guest, the guest knows: the application's own user, or one by name. */
static bool exec_params(struct desk *d, struct client *c, struct ipc_vm *vm)
{
	const json_t *argv, *env;
	const char *user = "", *cwd = "";
	int64_t rows = 0, cols = 0;
	if (!arg_strings(d, c, "argv", true, &argv) || !arg_strings(d, c, "env", false, &env) ||
		!arg_str(d, c, "user", false, &user) || !arg_str(d, c, "cwd", false, &cwd) ||
		!arg_bool(d, c, "tty", &vm->tty) || !arg_int(d, c, "rows", 0, UINT16_MAX, &rows) ||
		!arg_int(d, c, "cols", 0, UINT16_MAX, &cols))
		return false;
	vm->rows = (uint16_t)rows;
	vm->cols = (uint16_t)cols;
	if (strlen(user) >= sizeof(vm->user))
		return arg_bad(d, c, "user", "it is longer than %zu bytes", sizeof(vm->user) - 1);
	if ((cwd[0] != '\0' && cwd[0] != '/') || strlen(cwd) >= sizeof(vm->cwd))
		return arg_bad(d, c, "cwd", "it is no absolute path of at most %zu bytes", sizeof(vm->cwd) - 1);
	snprintf(vm->user, sizeof(vm->user), "%s", user);
	snprintf(vm->cwd, sizeof(vm->cwd), "%s", cwd);
	vm->guest_user = user[0] != '\0';
	if (json_array_size(argv) == 0)
		return arg_bad(d, c, "argv", "there is no command");
	if (vm_strings(vm, argv, &vm->argc) && vm_strings(vm, env, &vm->envc))
		return true;
	client_fail(d, c, "org.sekisho.Failed", "the command line and environment together are longer than %d bytes",
		IPC_ARGV_BYTES);
	return false;
}

void apps_exec(struct desk *d, struct client *c)
{
	if (!c->call.upgrade) {
		client_fail(d, c, "org.sekisho.Failed", "this must be called with \"upgrade\"");
		return;
	}
	struct app *a = running_vm(d, c);
	struct ipc_vm *vm = a == NULL ? NULL : calloc(1, sizeof(*vm));
	if (vm == NULL || !exec_params(d, c, vm)) {
		c->dead = c->dead || (a != NULL && vm == NULL);
		free(vm);
		return;
	}
	vm->ref = a->gate.ref;
	snprintf(vm->name, sizeof(vm->name), "%s", a->gate.name);
	int fd = client_leaves(d, c, a);
	if (fd >= 0) {
		(void)role_send_msg(d->role, ROLE_MAIN, IPC_VM_EXEC, 0, vm, vm, &fd, 1);
		close(fd);
	}
	free(vm);
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
