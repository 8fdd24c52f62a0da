/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rest of the computer knows about people: polkit, by running pkcheck, and logind, by watching its sessions.
 * It says yes or no to the desk and reads nothing else. polkit answers about other people's processes to uid 0 alone,
 * so this role keeps that uid; it has no capabilities, no network but the file system's sockets, and every mount
 * read-only. There is no system-call filter: pkcheck, which would inherit it, is somebody else's program.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/roles.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-login.h>
#include <unistd.h>

/* A person may have to find his password: so long a check may take. */
enum { CHECKS_MAX = 16, CHECKS_PER_UID = 2, CHECK_PATIENCE_MS = 120000, LOGIND_AGAIN_MS = 30000 };
enum auth_event { AUTH_CHILD = ROLE_COUNT, AUTH_LOGIND };
/* pkcheck(1). */
enum { PKCHECK_YES = 0, PKCHECK_NO = 1, PKCHECK_NEEDS_AGENT = 2, PKCHECK_DISMISSED = 3 };

struct peer {
	uint32_t pid, uid;
	uint64_t start; /* 0: not known */
};

struct check {
	pid_t pid; /* 0: free */
	int pidfd;
	uint32_t request, client, uid;
	int64_t until_ms;
};

struct auth {
	struct role *role;
	const char *pkcheck; /* NULL: not installed */
	struct peer peers[IPC_AUTH_CLIENTS];
	struct check checks[CHECKS_MAX];
	sd_login_monitor *logind; /* NULL: not there */
	int64_t logind_again_ms;
	struct ipc_auth_state said;
};

static const char *const actions[] = { "org.sekisho.view-own", "org.sekisho.answer-own", "org.sekisho.run",
	"org.sekisho.view-all", "org.sekisho.admin" };
_Static_assert(sizeof(actions) / sizeof(actions[0]) == AUTH_ACTIONS, "an action of polkit for each right");

static const char *find_pkcheck(void)
{
	static const char *const places[] = { "/usr/bin/pkcheck", "/bin/pkcheck", "/usr/local/bin/pkcheck" };
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (access(places[i], X_OK) == 0)
			return places[i];
	}
	return NULL;
}

static int auth_confine(void)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0 ||
		mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &read_only, sizeof(read_only)) != 0 || chdir("/") != 0)
		return -errno;
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_BOTH) != 0 || capng_have_capabilities(CAPNG_SELECT_CAPS) > CAPNG_NONE)
		return -EPERM;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -errno;
}

/* Field 22 of /proc/PID/stat; the name in field 2 may hold anything. */
static uint64_t process_start(uint32_t pid)
{
	char path[40], buf[1024];
	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	const char *p = strrchr(buf, ')');
	for (unsigned field = 2; p != NULL && field < 22; field++) {
		p = strchr(p, ' ');
		p = p == NULL ? NULL : p + 1;
	}
	return p == NULL ? 0 : strtoull(p, NULL, 10);
}

static void say(struct auth *a, uint32_t request, int err, const char *text)
{
	(void)role_result(a->role, ROLE_DESK, request, err, 0, text);
}

static struct check *check_place(struct auth *a, uint32_t uid)
{
	struct check *free_one = NULL;
	unsigned same = 0;
	for (unsigned i = 0; i < CHECKS_MAX; i++) {
		if (a->checks[i].pid == 0)
			free_one = &a->checks[i];
		else
			same += a->checks[i].uid == uid;
	}
	return same < CHECKS_PER_UID ? free_one : NULL;
}

static pid_t check_spawn(const struct auth *a, const struct peer *p, const char *action)
{
	char subject[80], process[] = "--process", id[] = "--action-id", ask[] = "--allow-user-interaction",
			  name[] = "pkcheck", what[40];
	snprintf(subject, sizeof(subject), "%u,%llu,%u", p->pid, (unsigned long long)p->start, p->uid);
	snprintf(what, sizeof(what), "%s", action);
	char *argv[] = { name, process, subject, id, what, ask, NULL };
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* 0 and 1 are nothing already; what pkcheck says to people is not for the log. */
	if (dup2(0, 2) < 0 || syscall(SYS_close_range, 3, ~0U, 0) != 0)
		_exit(127);
	execv(a->pkcheck, argv);
	_exit(127);
}

static void check_begin(struct auth *a, uint32_t request, const struct ipc_auth_ask *m)
{
	const struct peer *p = &a->peers[m->client];
	struct check *c = check_place(a, p->uid);
	if (a->pkcheck == NULL || p->pid == 0 || p->start == 0) {
		say(a, request, -ENOENT, "polkit cannot be asked about this process");
		return;
	}
	if (c == NULL) {
		say(a, request, -EBUSY, "polkit is being asked about other calls of yours; try again");
		return;
	}
	c->pid = check_spawn(a, p, actions[m->action]);
	int err = c->pid < 0 ? -errno : 0;
	c->pidfd = err != 0 ? -1 : (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (err == 0 && (c->pidfd < 0 || loop_add(a->role->loop, c->pidfd, EPOLLIN, AUTH_CHILD,
						 (uint32_t)(c - a->checks)) != 0)) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
		err = -EMFILE;
	}
	if (err != 0) {
		c->pid = 0;
		say(a, request, err, "pkcheck cannot be started");
		return;
	}
	c->request = request;
	c->client = m->client;
	c->uid = p->uid;
	c->until_ms = clock_boot_ms() + CHECK_PATIENCE_MS;
}

static void check_end(struct auth *a, struct check *c)
{
	int status = 0;
	loop_del(a->role->loop, c->pidfd);
	close(c->pidfd);
	waitpid(c->pid, &status, 0);
	c->pid = 0;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	if (code == PKCHECK_YES)
		say(a, c->request, 0, NULL);
	else if (code == PKCHECK_NO || code == PKCHECK_NEEDS_AGENT || code == PKCHECK_DISMISSED)
		say(a, c->request, -EACCES, "polkit says no");
	else
		say(a, c->request, -EIO, "polkit does not answer");
}

/* Nobody waits for its answer any more. */
static void peer_end(struct auth *a, uint32_t client)
{
	a->peers[client % IPC_AUTH_CLIENTS] = (struct peer){ 0 };
	for (unsigned i = 0; i < CHECKS_MAX; i++) {
		if (a->checks[i].pid != 0 && a->checks[i].client == client)
			kill(a->checks[i].pid, SIGKILL);
	}
}

static bool has_session(uid_t uid)
{
	char **sessions = NULL;
	int n = sd_uid_get_sessions(uid, 0, &sessions);
	bool found = false;
	for (int i = 0; i < n; i++) {
		char *state = NULL;
		/* Processes that outlive it keep a session "closing"; the person has gone. */
		found = found || sd_session_get_state(sessions[i], &state) < 0 || strcmp(state, "closing") != 0;
		free(state);
		free(sessions[i]);
	}
	free(sessions);
	return found;
}

static void tell_state(struct auth *a, bool always)
{
	static struct ipc_auth_state m;
	uid_t *uids = NULL;
	m = (struct ipc_auth_state){ .polkit = a->pkcheck != NULL, .logind = a->logind != NULL };
	int n = a->logind == NULL ? 0 : sd_get_uids(&uids);
	for (int i = 0; i < n && m.n < IPC_AUTH_UIDS; i++) {
		if (has_session(uids[i]))
			m.uid[m.n++] = uids[i];
	}
	free(uids);
	if (!always && memcmp(&m, &a->said, sizeof(m)) == 0)
		return;
	a->said = m;
	(void)role_send_msg(a->role, ROLE_DESK, IPC_AUTH_STATE, 0, auth_state, &m, NULL, 0);
}

/* What logind's other clients look for: there are session files without it, too. */
static void logind_open(struct auth *a)
{
	a->logind_again_ms = clock_boot_ms() + LOGIND_AGAIN_MS;
	if (access("/run/systemd/seats/", F_OK) != 0 || sd_login_monitor_new(NULL, &a->logind) < 0) {
		a->logind = NULL;
		return;
	}
	int fd = sd_login_monitor_get_fd(a->logind);
	if (fd < 0 || loop_add(a->role->loop, fd, EPOLLIN, AUTH_LOGIND, 0) != 0) {
		sd_login_monitor_unref(a->logind);
		a->logind = NULL;
		return;
	}
	a->logind_again_ms = -1;
}

static void from_desk(struct auth *a, const struct frame *f)
{
	struct ipc_auth_peer peer;
	struct ipc_auth_ask ask;
	struct ipc_u32 client;
	if (f->type == IPC_CHANNEL) {
		/* A fresh desk has none of the old one's clients. */
		for (uint32_t i = 0; i < IPC_AUTH_CLIENTS; i++)
			peer_end(a, i);
		tell_state(a, true);
	} else if (f->type == IPC_AUTH_PEER && ipc_auth_peer_get(f->body, f->len, &peer)) {
		peer_end(a, peer.client);
		a->peers[peer.client] =
			(struct peer){ .pid = peer.pid, .uid = peer.uid, .start = process_start(peer.pid) };
	} else if (f->type == IPC_AUTH_PEER_END && ipc_u32_get(f->body, f->len, &client)) {
		peer_end(a, client.v);
	} else if (f->type == IPC_AUTH_ASK && ipc_auth_ask_get(f->body, f->len, &ask)) {
		check_begin(a, f->id, &ask);
	}
}

static void auth_event(struct auth *a, const struct loop_event *ev)
{
	enum role_id from;
	struct frame f;
	if (ev->ref.type < ROLE_COUNT) {
		while (role_recv(a->role, ev, &from, &f) == 1) {
			if (from == ROLE_DESK)
				from_desk(a, &f);
			frame_close_fds(&f);
		}
		return;
	}
	switch ((enum auth_event)ev->ref.type) {
	case AUTH_CHILD:
		if (a->checks[ev->ref.index % CHECKS_MAX].pid != 0)
			check_end(a, &a->checks[ev->ref.index % CHECKS_MAX]);
		break;
	case AUTH_LOGIND:
		sd_login_monitor_flush(a->logind);
		tell_state(a, false);
		break;
	}
}

static int64_t auth_deadline(const struct auth *a)
{
	int64_t at = a->logind_again_ms;
	for (unsigned i = 0; i < CHECKS_MAX; i++) {
		if (a->checks[i].pid != 0 && (at < 0 || a->checks[i].until_ms < at))
			at = a->checks[i].until_ms;
	}
	return at;
}

static void auth_tick(struct auth *a)
{
	int64_t now = clock_boot_ms();
	for (unsigned i = 0; i < CHECKS_MAX; i++) {
		struct check *c = &a->checks[i];
		if (c->pid == 0 || now < c->until_ms)
			continue;
		kill(c->pid, SIGKILL);
		c->until_ms = now + CHECK_PATIENCE_MS;
	}
	if (a->logind_again_ms >= 0 && now >= a->logind_again_ms) {
		logind_open(a);
		tell_state(a, false);
	}
}

int auth_main(struct role *r)
{
	static struct auth a;
	a.role = r;
	a.pkcheck = find_pkcheck();
	int err = auth_confine();
	if (err != 0) {
		log_msg(LOG_ERROR, "cannot confine this process: %s", strerror(-err));
		return err;
	}
	logind_open(&a);
	role_ready(r);
	tell_state(&a, true);
	while (!r->stopping) {
		struct loop_event ev;
		if (loop_next(r->loop, auth_deadline(&a), &ev))
			auth_event(&a, &ev);
		auth_tick(&a);
	}
	for (unsigned i = 0; i < CHECKS_MAX; i++) {
		if (a.checks[i].pid != 0)
			kill(a.checks[i].pid, SIGKILL);
	}
	sd_login_monitor_unref(a.logind);
	return 0;
}
