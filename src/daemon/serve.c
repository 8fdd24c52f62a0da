/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the roles may ask of main, message by message. Every interface named by desk is checked here again: a desk taken
 * over must not be able to move an interface of the host's into the switch.
 */
#include "base/log.h"
#include "daemon/sekishod.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POLICY_FILES_MAX = 256 };

static void answer(struct sekishod *d, enum role_id to, uint32_t id, int err, const char *text)
{
	struct frame_chan *c = d->children[to].chan;
	if (c == NULL || ipc_send_result(c, id, err, 0, err == 0 ? NULL : text) != 0)
		log_msg(LOG_WARNING, "an answer to %s is lost", role_name(to));
}

static void link_take(struct sekishod *d, const struct frame *f, const char *ifname)
{
	char error[LINK_ERROR_MAX] = "";
	int err = link_check_attachable(d->links, ifname, error);
	if (err == 0) {
		err = link_prepare(d->links, ifname, d->ovs.tso);
		if (err != 0)
			snprintf(error, sizeof(error), "cannot prepare %.15s: %s", ifname, strerror(-err));
	}
	answer(d, ROLE_DESK, f->id, err, error);
}

static void link_up(struct sekishod *d, const struct frame *f, const char *ifname)
{
	char error[LINK_ERROR_MAX] = "";
	int err = ports_raise(d, ifname);
	if (err != 0)
		snprintf(error, sizeof(error), "cannot bring %.15s up: %s", ifname, strerror(-err));
	answer(d, ROLE_DESK, f->id, err, error);
}

static void tap_make(struct sekishod *d, const struct frame *f, const char *ifname)
{
	char error[LINK_ERROR_MAX] = "";
	int err = vms_tap(d, ifname, error, sizeof(error));
	answer(d, ROLE_DESK, f->id, err, error);
}

static void from_desk_text(struct sekishod *d, const struct frame *f)
{
	struct ipc_text t;
	if (!ipc_text_get(f->body, f->len, &t) || t.len == 0 || t.len >= LINK_NAME_MAX) {
		answer(d, ROLE_DESK, f->id, -EINVAL, "an interface name has 1 to 15 characters");
		return;
	}
	if (f->type == IPC_LINK_TAKE) {
		link_take(d, f, t.s);
	} else if (f->type == IPC_LINK_UP) {
		link_up(d, f, t.s);
	} else if (f->type == IPC_TAP_MAKE) {
		tap_make(d, f, t.s);
	} else {
		ports_forget(d, t.s);
		vms_tap_close(d, t.s);
		link_release(d->links, t.s);
		answer(d, ROLE_DESK, f->id, 0, NULL);
	}
}

/* The policy files were read: at start a bad one ends the daemon, later the old policy stays. */
static void policy_result(struct sekishod *d, const struct frame *f)
{
	struct ipc_result r;
	if (!ipc_result_get(f->body, f->len, &r))
		return;
	if (r.err == 0) {
		if (d->policy_good)
			log_msg(LOG_NOTICE, "the policy files are in force: %s", r.text.s);
		d->policy_good = true;
		return;
	}
	for (char *line = r.text.s, *end; *line != '\0'; line = end) {
		end = line + strcspn(line, "\n");
		log_msg(LOG_ERROR, "%.*s", (int)(end - line), line);
		end += *end == '\n';
	}
	if (!d->announced) {
		log_msg(LOG_ERROR, "the policy has errors (see `sekisho policy check`); not starting");
		main_stop(d, 1);
	} else {
		log_msg(LOG_ERROR, "the policy stays as it was");
	}
}

static void forwards(struct sekishod *d, const struct frame *f)
{
	static struct ipc_forwards m, held;
	char error[UPLINK_ERROR_MAX] = "";
	if (strcmp(d->conf.uplink, "nat") != 0 || !ipc_forwards_get(f->body, f->len, &m))
		return;
	memset(&held, 0, sizeof(held));
	d->n_forwards = 0;
	for (unsigned i = 0; i < m.n; i++) {
		if (uplink_port_held(m.f[i].proto, m.f[i].port))
			held.f[held.n++] = m.f[i];
		else
			d->forwards[d->n_forwards++] = (struct uplink_forward){ .protocol = m.f[i].proto,
				.port = m.f[i].port,
				.guest4 = m.f[i].v4,
				.guest6 = m.f[i].v6 };
	}
	if (uplink_set_forwards(&d->uplink, d->forwards, d->n_forwards, error) != 0)
		log_msg(LOG_ERROR, "inbound ports cannot be passed on: %s", error);
	if (ipc_send(d->children[ROLE_DESK].chan, IPC_FORWARDS_HELD, f->id, forwards, &held, NULL, 0) != 0)
		log_msg(LOG_WARNING, "desk could not be told which inbound ports are the host's own");
}

/* Only what every user may read: a desk taken over must not be able to read the host's secrets as lists. */
static int list_file(const char *path, const char **ret_why)
{
	struct stat st;
	int fd = path[0] == '/' ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
	*ret_why = path[0] == '/' ? strerror(errno) : "a list's file is named from /";
	if (fd < 0)
		return path[0] == '/' ? -errno : -EINVAL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0)
		return fd;
	close(fd);
	*ret_why = "a list is a plain file that everybody may read";
	return -EACCES;
}

static void list_open(struct sekishod *d, const struct frame *f)
{
	static struct ipc_text t;
	static struct ipc_result r;
	const char *why = "";
	int fd = ipc_text_get(f->body, f->len, &t) ? list_file(t.s, &why) : -EINVAL;
	r = (struct ipc_result){ .err = fd < 0 ? fd : 0 };
	ipc_text_set(&r.text, fd < 0 ? why : "");
	if (ipc_send(d->children[ROLE_DESK].chan, IPC_RESULT, f->id, result, &r, &fd, fd < 0 ? 0 : 1) != 0)
		log_msg(LOG_WARNING, "a list's file for desk is lost");
	if (fd >= 0)
		close(fd);
}

static void policy_wanted(struct sekishod *d, uint32_t id)
{
	int err = serve_policy(d, id);
	if (err != 0)
		answer(d, ROLE_DESK, id, err, "the policy files cannot be opened: see the daemon's log");
}

static void from_desk(struct sekishod *d, struct frame *f)
{
	switch (f->type) {
	case IPC_LINK_TAKE:
	case IPC_LINK_UP:
	case IPC_LINK_RELEASE:
	case IPC_TAP_MAKE:
		from_desk_text(d, f);
		break;
	case IPC_DOCTOR:
		checks_run(d);
		break;
	case IPC_FORWARDS:
		forwards(d, f);
		break;
	case IPC_POLICY_WANT:
		policy_wanted(d, f->id);
		break;
	case IPC_LIST_OPEN:
		list_open(d, f);
		break;
	case IPC_VM_START:
		vms_start(d, f);
		break;
	case IPC_VM_ATTACH:
		vms_attach(d, f);
		break;
	case IPC_VM_EXEC:
		vms_exec(d, f);
		break;
	case IPC_VM_PAUSE:
		vms_pause(d, f);
		break;
	case IPC_VM_CLAIM:
		vms_claim(d, f);
		break;
	case IPC_VM_STOP:
		vms_stop(d, f);
		break;
	case IPC_RESULT:
		policy_result(d, f);
		break;
	default:
		log_msg(LOG_ERROR, "desk sent message %u, which is not its to send", f->type);
	}
}

/* "db", "ctl" or "mgmt": switchd has no file system to connect them in. */
static void connect_switch(struct sekishod *d, const struct frame *f)
{
	struct ipc_text t;
	int fd = -EINVAL;
	if (ipc_text_get(f->body, f->len, &t)) {
		if (strcmp(t.s, "db") == 0)
			fd = ovs_connect_db(&d->ovs);
		else if (strcmp(t.s, "ctl") == 0)
			fd = ovs_connect_ctl(&d->ovs);
		else if (strcmp(t.s, "mgmt") == 0)
			fd = ovs_connect_mgmt(&d->ovs, d->conf.bridge);
	}
	if (fd < 0) {
		answer(d, ROLE_SWITCHD, f->id, fd, strerror(-fd));
		return;
	}
	struct ipc_result r = { 0 };
	if (ipc_send(d->children[ROLE_SWITCHD].chan, IPC_RESULT, f->id, result, &r, &fd, 1) != 0)
		log_msg(LOG_WARNING, "a socket for switchd is lost");
	close(fd);
}

static void from_switchd(struct sekishod *d, const struct frame *f)
{
	if (f->type == IPC_LINK_FD) {
		connect_switch(d, f);
	} else if (f->type == IPC_SWITCH_SILENT) {
		ports_down(d);
	} else if (f->type == IPC_SWITCH_EVENT) {
		if (d->announced && host_uplink(d) != 0)
			log_msg(LOG_ERROR, "the uplink could not be made again");
		ports_up(d);
	} else {
		log_msg(LOG_ERROR, "switchd sent message %u, which is not its to send", f->type);
	}
}

void serve_frame(struct sekishod *d, enum role_id from, struct frame *f)
{
	if (from == ROLE_DESK)
		from_desk(d, f);
	else if (from == ROLE_SWITCHD)
		from_switchd(d, f);
	else
		log_msg(LOG_ERROR, "%s sent message %u, which is not its to send", role_name(from), f->type);
}

int serve_start(struct sekishod *d, enum role_id role)
{
	struct frame_chan *c = d->children[role].chan;
	int err = frame_send(c, IPC_START, 0, NULL, 0, NULL, 0);
	if (err == 0 && role == ROLE_NAMES)
		err = frame_send(c, IPC_SOCKETS, 0, NULL, 0, d->names_fds, UPLINK_NAMES_FDS);
	if (err == 0 && role == ROLE_DESK)
		err = frame_send(c, IPC_SOCKETS, 0, NULL, 0, &d->api_fd, 1);
	if (err == 0 && role == ROLE_DESK)
		err = serve_policy(d, POLICY_OWN);
	if (err == 0 && role == ROLE_DESK)
		vms_desk_back(d);
	return err;
}

static bool ends_in(const struct dirent *e, const char *suffix)
{
	size_t len = strlen(e->d_name), n = strlen(suffix);
	return e->d_name[0] != '.' && len > n && strcmp(e->d_name + len - n, suffix) == 0;
}

static int rules_file(const struct dirent *e)
{
	return ends_in(e, ".rules");
}

static int profile_file(const struct dirent *e)
{
	return ends_in(e, ".conf");
}

/* Files of the admin's that desk is to have: where they lie, which they are, how they are sent. */
struct folder {
	const char *path;
	int (*wanted)(const struct dirent *e);
	uint16_t type;
};

static int give_file(struct sekishod *d, const struct folder *f, int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		int err = -errno;
		log_msg(LOG_ERROR, "cannot open %s/%s: %s", f->path, name, strerror(-err));
		return err;
	}
	struct ipc_text t;
	ipc_text_set(&t, name);
	int err = ipc_send(d->children[ROLE_DESK].chan, f->type, 0, text, &t, &fd, 1);
	close(fd);
	return err;
}

static int give_folder(struct sekishod *d, const struct folder *f)
{
	struct dirent **list = NULL;
	int n = 0, err = 0, dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 && errno == ENOENT)
		return 0;
	if (dir < 0 || (n = scandirat(dir, ".", &list, f->wanted, alphasort)) < 0)
		err = -errno;
	else if (n > POLICY_FILES_MAX)
		err = -E2BIG;
	if (err != 0)
		log_msg(LOG_ERROR, "cannot read %s: %s", f->path, strerror(-err));
	for (int i = 0; i < n; i++) {
		if (err == 0)
			err = give_file(d, f, dir, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	if (dir >= 0)
		close(dir);
	return err;
}

int serve_policy(struct sekishod *d, uint32_t id)
{
	const struct folder folders[] = { { d->conf.policy_dir, rules_file, IPC_POLICY_FILE },
		{ d->conf.apps_dir, profile_file, IPC_PROFILE_FILE } };
	struct frame_chan *c = d->children[ROLE_DESK].chan;
	int err = c == NULL ? -EPIPE : frame_send(c, IPC_RELOAD, 0, NULL, 0, NULL, 0);
	for (unsigned i = 0; err == 0 && i < sizeof(folders) / sizeof(folders[0]); i++)
		err = give_folder(d, &folders[i]);
	return err != 0 ? err : frame_send(c, IPC_POLICY_END, id, NULL, 0, NULL, 0);
}
