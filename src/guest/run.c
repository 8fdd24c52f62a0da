/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/run.h"

#include "guest/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SETUP_FAILED = 125, ENV_OWN = 8 };

/* What the child says when it cannot become the program. */
struct child_error {
	int step; /* enum child_step */
	int err;
};
enum child_step { STEP_TTY, STEP_IDS, STEP_CWD, STEP_EXEC };

struct command {
	char *argv[AGENT_ARGS_MAX + 1];
	char *env[AGENT_ARGS_MAX + ENV_OWN + 1];
	char own[ENV_OWN][300];
};

static bool env_has(char *const *env, const char *name)
{
	size_t len = strlen(name);
	for (; *env != NULL; env++) {
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return true;
	}
	return false;
}

static void env_default(struct command *c, unsigned slot, size_t *n, const char *name, const char *value)
{
	if (env_has(c->env, name))
		return;
	snprintf(c->own[slot], sizeof(c->own[slot]), "%s=%s", name, value);
	c->env[(*n)++] = c->own[slot];
	c->env[*n] = NULL;
}

static struct command *command_new(const struct agent_exec *e)
{
	struct command *c = calloc(1, sizeof(*c));
	char *s = c == NULL ? NULL : malloc(e->strings_len);
	if (s == NULL) {
		free(c);
		return NULL;
	}
	memcpy(s, e->strings, e->strings_len);
	for (unsigned i = 0; i < e->argc; i++, s += strlen(s) + 1)
		c->argv[i] = s;
	size_t n = 0;
	for (; n < e->envc; n++, s += strlen(s) + 1)
		c->env[n] = s;
	env_default(c, 0, &n, "PATH",
		e->uid == 0 ? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
			    : "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games");
	env_default(c, 1, &n, "HOME", e->home);
	env_default(c, 2, &n, "USER", e->user);
	env_default(c, 3, &n, "LOGNAME", e->user);
	env_default(c, 4, &n, "TERM", e->tty ? "xterm" : "dumb");
	env_default(c, 5, &n, "LANG", "C.UTF-8");
	return c;
}

/* The program's ends of its streams: a pty slave, or three pipes. */
struct streams {
	int child[3];
	int in, out, err;
};

static void streams_close(struct streams *s, bool child, bool parent)
{
	for (unsigned i = 0; child && i < 3; i++) {
		if (s->child[i] >= 0 && (i == 0 || s->child[i] != s->child[0]))
			close(s->child[i]);
	}
	if (!parent)
		return;
	if (s->in >= 0)
		close(s->in);
	if (s->out >= 0 && s->out != s->in)
		close(s->out);
	if (s->err >= 0)
		close(s->err);
}

static int streams_tty(const struct agent_exec *e, struct streams *s)
{
	struct winsize size = { .ws_row = e->rows, .ws_col = e->cols };
	int master, slave;
	if (openpty(&master, &slave, NULL, NULL, &size) != 0)
		return -errno;
	*s = (struct streams){ .child = { slave, slave, slave }, .in = master, .out = master, .err = -1 };
	enum { TTY_GROUP = 5 };
	if (fchown(slave, e->uid, TTY_GROUP) != 0 || fchmod(slave, 0620) != 0 ||
		fcntl(master, F_SETFL, O_NONBLOCK) != 0 || fcntl(master, F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(slave, F_SETFD, FD_CLOEXEC) != 0)
		return -errno;
	return 0;
}

static int streams_pipes(const struct agent_exec *e, struct streams *s)
{
	int p[2];
	for (unsigned i = 0; i < 3; i++) {
		if (pipe2(p, O_CLOEXEC) != 0)
			return -errno;
		int ours = i == 0 ? p[1] : p[0];
		s->child[i] = i == 0 ? p[0] : p[1];
		*(i == 0 ? &s->in : i == 1 ? &s->out : &s->err) = ours;
		/* Programs open /dev/stdout again: the pipe has to be theirs. */
		if (fcntl(ours, F_SETFL, O_NONBLOCK) != 0 || fchown(s->child[i], e->uid, e->gid) != 0)
			return -errno;
	}
	return 0;
}

static int become_user(const struct agent_exec *e)
{
	enum { GROUPS_MAX = 64 };
	gid_t gid = e->gid, groups[GROUPS_MAX];
	if (setgroups(user_groups(e, groups, GROUPS_MAX), groups) != 0 || setresgid(gid, gid, gid) != 0 ||
		setresuid(e->uid, e->uid, e->uid) != 0)
		return -errno;
	return 0;
}

static void reset_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
}

static struct child_error child_become(const struct agent_exec *e, struct command *c, struct streams *s)
{
	struct child_error bad = { .step = STEP_TTY };
	reset_signals();
	if (setsid() < 0 || (e->tty && ioctl(s->child[0], TIOCSCTTY, 0) != 0) || dup2(s->child[0], 0) < 0 ||
		dup2(s->child[1], 1) < 0 || dup2(s->child[2], 2) < 0) {
		bad.err = errno;
		return bad;
	}
	bad.step = STEP_IDS;
	bad.err = -become_user(e);
	if (bad.err != 0)
		return bad;
	bad.step = STEP_CWD;
	if (chdir(e->cwd[0] != 0 ? e->cwd : e->home) != 0 && (e->cwd[0] != 0 || chdir("/") != 0)) {
		bad.err = errno;
		return bad;
	}
	bad.step = STEP_EXEC;
	environ = c->env;
	execvp(c->argv[0], c->argv);
	bad.err = errno;
	return bad;
}

static int explain(const struct agent_exec *e, const struct child_error *bad, char *reason)
{
	static const char *const what[] = { [STEP_TTY] = "cannot connect the terminal",
		[STEP_IDS] = "cannot become the user",
		[STEP_CWD] = "cannot enter the working directory" };
	if (bad->step == STEP_EXEC) {
		snprintf(reason, AGENT_REASON_MAX, "cannot run %.1000s: %s", e->strings, strerror(bad->err));
		return bad->err == ENOENT || bad->err == ENOTDIR ? RUN_NOT_FOUND : RUN_NOT_EXECUTABLE;
	}
	snprintf(reason, AGENT_REASON_MAX, "%s: %s", what[bad->step], strerror(bad->err));
	return SETUP_FAILED;
}

static int start_child(const struct agent_exec *e, struct command *c, struct streams *s, struct run *ret, char *reason)
{
	int word[2];
	if (pipe2(word, O_CLOEXEC) != 0)
		return SETUP_FAILED;
	pid_t pid = fork();
	if (pid == 0) {
		struct child_error bad = child_become(e, c, s);
		if (write(word[1], &bad, sizeof(bad)) < 0)
			_exit(SETUP_FAILED);
		_exit(SETUP_FAILED);
	}
	close(word[1]);
	streams_close(s, true, pid < 0);
	struct child_error bad;
	/* The pipe closes at exec: nothing to read is the good news. */
	ssize_t n = pid < 0 ? 0 : read(word[0], &bad, sizeof(bad));
	close(word[0]);
	if (pid > 0 && n == 0) {
		*ret = (struct run){ .pid = pid, .in = s->in, .out = s->out, .err = s->err };
		return 0;
	}
	if (pid < 0)
		return SETUP_FAILED;
	waitpid(pid, NULL, 0);
	streams_close(s, false, true);
	return n == sizeof(bad) ? explain(e, &bad, reason) : SETUP_FAILED;
}

int run_start(const struct agent_exec *e, struct run *ret, char *reason)
{
	snprintf(reason, AGENT_REASON_MAX, "the guest is out of memory");
	struct command *c = command_new(e);
	if (c == NULL)
		return SETUP_FAILED;
	struct streams s = { .child = { -1, -1, -1 }, .in = -1, .out = -1, .err = -1 };
	int err = e->tty ? streams_tty(e, &s) : streams_pipes(e, &s);
	if (err != 0) {
		snprintf(reason, AGENT_REASON_MAX, "cannot make the program's streams: %s", strerror(-err));
		streams_close(&s, true, true);
		return SETUP_FAILED;
	}
	/* The program keeps using `c` until it is replaced; ours is small and lives as long as the guest. */
	return start_child(e, c, &s, ret, reason);
}
