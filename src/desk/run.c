/* SPDX-License-Identifier: Apache-2.0 */
/* Apps.Run: what the call says, as the machine that main is to start. */
#include "desk/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_MIB = 512, MEMORY_MIN = 64, MEMORY_MAX = 262144, CPUS_MAX = 64 };

bool vm_strings(struct ipc_vm *vm, const json_t *list, uint16_t *ret_n)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));
		size_t len = strlen(s) + 1;
		if (len > sizeof(vm->strings) - vm->strings_len || *ret_n == 4096)
			return false;
		memcpy(vm->strings + vm->strings_len, s, len);
		vm->strings_len += (uint32_t)len;
		(*ret_n)++;
	}
	return true;
}

static bool vm_numbers(struct desk *d, struct client *c, const struct profile *p, struct ipc_vm *vm)
{
	int64_t memory = p != NULL && p->memory_mib != 0 ? p->memory_mib : MEMORY_MIB;
	int64_t cpus = p != NULL && p->cpus != 0 ? p->cpus : 1, rows = 0, cols = 0;
	if (!arg_int(d, c, "memory", MEMORY_MIN, MEMORY_MAX, &memory) || !arg_int(d, c, "cpus", 1, CPUS_MAX, &cpus) ||
		!arg_int(d, c, "rows", 0, UINT16_MAX, &rows) || !arg_int(d, c, "cols", 0, UINT16_MAX, &cols) ||
		!arg_bool(d, c, "tty", &vm->tty) || !arg_bool(d, c, "detach", &vm->detach))
		return false;
	vm->memory_mib = (uint32_t)memory;
	vm->cpus = (uint16_t)cpus;
	vm->rows = (uint16_t)rows;
	vm->cols = (uint16_t)cols;
	return true;
}

/* The guest sees the host tree's directories, and what is lent to it: elsewhere the program begins in its HOME. */
static bool cwd_shared(const char *cwd)
{
	static const char *const trees[] = { "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32" };
	for (unsigned i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		size_t len = strlen(trees[i]);
		if (strncmp(cwd, trees[i], len) == 0 && (cwd[len] == '/' || cwd[len] == '\0'))
			return true;
	}
	return strcmp(cwd, "/") == 0;
}

/* What its root is made of, and whether the client gave that. */
static bool vm_root(struct desk *d, struct client *c, struct ipc_vm *vm)
{
	static const char *const kinds[] = { [IPC_ROOT_HOST] = "host", [IPC_ROOT_IMAGE] = "image" };
	const char *root = kinds[IPC_ROOT_HOST];
	bool layer = false;
	if (!arg_str(d, c, "root", false, &root) || !arg_bool(d, c, "layer", &layer))
		return false;
	while (vm->root.kind < IPC_ROOT_KINDS && strcmp(kinds[vm->root.kind], root) != 0)
		vm->root.kind++;
	if (vm->root.kind == IPC_ROOT_KINDS)
		return arg_bad(d, c, "root", "it is host or image");
	vm->root.layer = layer;
	vm->guest_user = vm->root.kind != IPC_ROOT_HOST;
	return true;
}

/* An image has users and directories of its own: the guest looks them up. */
static bool vm_guest_user(struct desk *d, struct client *c, struct ipc_vm *vm)
{
	const char *user = "", *cwd = "";
	if (!arg_str(d, c, "user", false, &user) || !arg_str(d, c, "cwd", false, &cwd))
		return false;
	if (strlen(user) >= sizeof(vm->user))
		return arg_bad(d, c, "user", "it is longer than %zu bytes", sizeof(vm->user) - 1);
	if ((cwd[0] != '\0' && cwd[0] != '/') || strlen(cwd) >= sizeof(vm->cwd))
		return arg_bad(d, c, "cwd", "it is no absolute path of at most %zu bytes", sizeof(vm->cwd) - 1);
	snprintf(vm->user, sizeof(vm->user), "%s", user);
	snprintf(vm->cwd, sizeof(vm->cwd), "%s", cwd);
	return true;
}

/* Where the program must begin. False: an error was replied. */
static bool vm_chdir(struct desk *d, struct client *c, struct ipc_vm *vm)
{
	const char *dir = NULL;
	if (!arg_str(d, c, "chdir", false, &dir))
		return false;
	if (dir != NULL && (dir[0] != '/' || strlen(dir) >= sizeof(vm->cwd)))
		return arg_bad(d, c, "chdir", "it is no absolute path of at most %zu bytes", sizeof(vm->cwd) - 1);
	if (dir != NULL)
		snprintf(vm->cwd, sizeof(vm->cwd), "%s", dir);
	return true;
}

/* Who the program is inside: its owner, or root in its own machine. */
static bool vm_user(struct desk *d, struct client *c, struct ipc_vm *vm, uint32_t owner)
{
	struct host_user u = c->user;
	const char *user = NULL, *cwd = "";
	if (!arg_str(d, c, "user", false, &user) || !arg_str(d, c, "cwd", false, &cwd))
		return false;
	int err = owner == c->uid ? 0 : host_user_by_uid(&d->host, owner, &u);
	if (err == 0 && user != NULL && strcmp(user, "root") == 0)
		err = host_user_by_uid(&d->host, 0, &u);
	else if (err == 0 && user != NULL && strcmp(user, u.name) != 0)
		err = -ENOENT;
	bool there = cwd_shared(cwd) || vm_shared(vm, cwd);
	if (err != 0 || (there && strlen(cwd) >= sizeof(vm->cwd))) {
		client_no_such(d, c, err != 0 ? "user" : "directory", err != 0 && user != NULL ? user : cwd);
		return false;
	}
	vm->uid = u.uid;
	vm->gid = u.gid;
	snprintf(vm->user, sizeof(vm->user), "%s", u.name);
	snprintf(vm->home, sizeof(vm->home), "%s", u.home);
	if (there)
		snprintf(vm->cwd, sizeof(vm->cwd), "%s", cwd);
	return true;
}

static void vm_addresses(struct desk *d, struct ipc_vm *vm, const struct app *a)
{
	const struct plan *p = &d->role->conf.plan;
	vm->ref = a->gate.ref;
	snprintf(vm->name, sizeof(vm->name), "%s", a->gate.name);
	snprintf(vm->tap, sizeof(vm->tap), "%s", a->ifname);
	vm->mac = a->gate.mac;
	vm->v4 = a->gate.v4;
	vm->v4_gateway = vm->dns4 = a->gate.v4_gateway;
	vm->v6 = a->gate.v6;
	vm->v6_gateway = plan_gateway(p, a->gate.ref.slot, true);
	vm->dns6 = plan_v6(p, a->gate.ref.slot, 1);
	vm->v4_prefix = (uint8_t)plan_guest_prefix(p, false);
	vm->v6_prefix = (uint8_t)plan_guest_prefix(p, true);
}

/* What the call says, else what the application's profile says. False: an error was replied. */
static bool vm_command(struct desk *d, struct client *c, const struct profile *p, const char *name, const json_t *argv,
	struct ipc_vm *vm)
{
	bool said = json_array_size(argv) > 0;
	if (!said && (p == NULL || p->argc == 0))
		return arg_bad(d, c, "argv",
			"there is no command: sekisho run %s -- CMD, or \"command = CMD\" in apps/%s.conf", name, name);
	if (said ? vm_strings(vm, argv, &vm->argc) : p->argv_len <= sizeof(vm->strings)) {
		if (!said) {
			memcpy(vm->strings, p->argv, p->argv_len);
			vm->strings_len = (uint32_t)p->argv_len;
			vm->argc = p->argc;
		}
		return true;
	}
	client_fail(d, c, "org.sekisho.Failed", "the command line is longer than %d bytes", IPC_ARGV_BYTES);
	return false;
}

void apps_run(struct desk *d, struct client *c)
{
	const char *name = NULL;
	const json_t *argv, *env;
	uint32_t owner;
	bool said;
	uint8_t ask;
	if (!c->call.upgrade) {
		client_fail(d, c, "org.sekisho.Failed", "Run must be called with \"upgrade\"");
		return;
	}
	struct ipc_vm *vm = calloc(1, sizeof(*vm));
	if (vm == NULL || !arg_app(d, c, true, &name) || wants_files(d, c, profile_of(d, name)) ||
		!arg_strings(d, c, "argv", false, &argv) || !arg_strings(d, c, "env", false, &env) ||
		!arg_owner(d, c, &owner, &said) || !arg_ask(d, c, &ask) || !vm_numbers(d, c, profile_of(d, name), vm) ||
		!vm_root(d, c, vm) || !vm_shares(d, c, vm, owner) ||
		!(vm->guest_user ? vm_guest_user(d, c, vm) : vm_user(d, c, vm, owner)) || !vm_chdir(d, c, vm) ||
		!vm_command(d, c, profile_of(d, name), name, argv, vm)) {
		if (vm == NULL)
			c->dead = true;
		free(vm);
		return;
	}
	if (!vm_strings(vm, env, &vm->envc)) {
		client_fail(d, c, "org.sekisho.Failed",
			"the command line and environment together are longer than %d bytes", IPC_ARGV_BYTES);
		free(vm);
		return;
	}
	struct app *a = app_new(d, c, name, owner, APP_VM);
	if (a == NULL) {
		free(vm);
		return;
	}
	snprintf(a->ifname, sizeof(a->ifname), "skt%u", a->gate.ref.slot);
	vm_addresses(d, vm, a);
	a->vm = vm;
	a->lent = vm->shares.n > 0 ? shares_json(&vm->shares) : NULL;
	a->blocks = c->fds;
	c->fds.n = 0;
	app_begin(d, c, a, ask);
}
