/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include "base/clock.h"
#include "base/log.h"
#include "role/boot.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PORT = 5300 };

static const char zone[] =
	"$ORIGIN example.org.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
	"www A 192.0.2.10\nwww A 192.0.2.11\nwww AAAA 2001:db8::10\nv6only AAAA 2001:db8::16\nv4only A 192.0.2.17\n"
	"alias CNAME alias2\nalias2 CNAME www\nloop1 CNAME loop2\nloop2 CNAME loop1\n@ MX 10 mail\n@ TXT \"the lab\" \"two\"\n"
	"mail A 192.0.2.25\n_sip._tcp SRV 1 2 5060 sip\nsvc HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.9 ipv6hint=2001:db8::9\n"
	"gone CNAME nothere\ncaa CAA 0 issue \"ca.example.net\"\n";

static void write_file(const struct world *w, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void loopback_up(void)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &r), 0);
	close(fd);
}

bool world_enter(struct world *w)
{
	*w = (struct world){ 0 };
	if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
		return false;
	loopback_up();
	snprintf(w->dir, sizeof(w->dir), "/tmp/sekisho-names-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chmod(w->dir, 0755), 0);
	char empty[128];
	snprintf(empty, sizeof(empty), "%s/empty", w->dir);
	assert_int_equal(mkdir(empty, 0555), 0);
	return true;
}

/* One question for the SOA; true when something was said. */
static bool nsd_answers(void)
{
	static const uint8_t query[] = { 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3,
		'o', 'r', 'g', 0, 0, 6, 0, 1 };
	const struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t buf[512];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool good = connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0 &&
		    send(fd, query, sizeof(query), 0) > 0 && poll(&p, 1, 100) == 1 && recv(fd, buf, sizeof(buf), 0) > 0;
	close(fd);
	return good;
}

bool world_nsd(struct world *w)
{
	char conf[1024], path[128];
	if (access("/usr/sbin/nsd", X_OK) != 0)
		return false;
	snprintf(conf, sizeof(conf),
		"server:\n ip-address: 127.0.0.1@%d\n username: \"\"\n chroot: \"\"\n zonesdir: \"%s\"\n pidfile: \"%s/nsd.pid\"\n"
		" database: \"\"\n xfrdfile: \"%s/xfrd\"\n xfrdir: \"%s\"\n logfile: \"/dev/null\"\n zonelistfile: \"%s/list\"\n server-count: 1\n"
		"remote-control:\n control-enable: yes\n control-interface: %s/ctl\nzone:\n name: example.org\n zonefile: example.org\n",
		PORT, w->dir, w->dir, w->dir, w->dir, w->dir, w->dir);
	write_file(w, "nsd.conf", conf);
	write_file(w, "example.org", zone);
	snprintf(path, sizeof(path), "%s/nsd.conf", w->dir);
	w->nsd = fork();
	if (w->nsd == 0) {
		execl("/usr/sbin/nsd", "nsd", "-d", "-c", path, (char *)NULL);
		_exit(127);
	}
	int64_t end = clock_boot_ms() + 10000;
	while (!nsd_answers())
		assert_true(clock_boot_ms() < end);
	return true;
}

static const char *config(const struct world *w, const char *settings, char *buf, size_t cap)
{
	snprintf(buf, cap, "run_dir = %s\n%s", w->dir, settings);
	return buf;
}

static void start_role(enum role_id id, int fd)
{
	struct role r;
	log_open(role_name(id), LOG_NOTICE);
	int err = role_boot(id, fd, &r);
	if (err == 0)
		err = id == ROLE_NAMES ? names_main(&r) : resolver_main(&r);
	_exit(err == 0 ? 0 : 1);
}

static void give_channel(struct world *w, enum role_id peer)
{
	int pair[2];
	struct ipc_u32 m = { peer };
	assert_int_equal(frame_pair(pair), 0);
	assert_int_equal(frame_chan_new(pair[0], &w->chan[peer]), 0);
	assert_int_equal(ipc_send(w->chan[ROLE_MAIN], IPC_CHANNEL, 0, u32, &m, &pair[1], 1), 0);
	close(pair[1]);
}

void world_start(struct world *w, enum role_id id, const char *settings, const int *fds, unsigned n_fds)
{
	char conf[2048];
	int pair[2];
	assert_int_equal(frame_pair(pair), 0);
	w->role = fork();
	if (w->role == 0) {
		close(pair[0]);
		start_role(id, pair[1]);
	}
	close(pair[1]);
	assert_int_equal(frame_chan_new(pair[0], &w->chan[ROLE_MAIN]), 0);
	config(w, settings, conf, sizeof(conf));
	assert_int_equal(frame_send(w->chan[ROLE_MAIN], IPC_CONFIG, 0, conf, strlen(conf), NULL, 0), 0);
	give_channel(w, ROLE_GATE);
	give_channel(w, id == ROLE_NAMES ? ROLE_RESOLVER : ROLE_NAMES);
	assert_int_equal(frame_send(w->chan[ROLE_MAIN], IPC_START, 0, NULL, 0, NULL, 0), 0);
	if (n_fds > 0)
		assert_int_equal(frame_send(w->chan[ROLE_MAIN], IPC_SOCKETS, 0, NULL, 0, fds, n_fds), 0);
	assert_int_equal(world_recv(w, ROLE_MAIN, 5000).type, IPC_READY);
}

struct frame world_recv(struct world *w, enum role_id peer, int patience_ms)
{
	struct frame f;
	struct pollfd p = { .fd = frame_chan_fd(w->chan[peer]), .events = POLLIN };
	assert_int_equal(poll(&p, 1, patience_ms), 1);
	assert_int_equal(frame_recv(w->chan[peer], &f), 1);
	return f;
}

static int ended(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs a program and returns what it said. */
static size_t run(char *const argv[], char *out, size_t cap)
{
	int pipefd[2];
	size_t len = 0;
	assert_int_equal(pipe(pipefd), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pipefd[1], STDOUT_FILENO);
		close(pipefd[0]);
		execv(argv[0], argv);
		_exit(127);
	}
	close(pipefd[1]);
	for (ssize_t n = 1; n > 0 && len<cap - 1; len += n> 0 ? (size_t)n : 0)
		n = read(pipefd[0], out + len, cap - 1 - len);
	close(pipefd[0]);
	out[len] = '\0';
	return ended(pid) == 0 ? len : 0;
}

long world_queries(struct world *w)
{
	static char out[16384], path[128];
	char program[] = "/usr/sbin/nsd-control", option[] = "-c", what[] = "stats_noreset", key[] = "num.queries=";
	char *const argv[] = { program, option, path, what, NULL };
	snprintf(path, sizeof(path), "%s/nsd.conf", w->dir);
	const char *at = run(argv, out, sizeof(out)) == 0 ? NULL : strstr(out, key);
	while (at != NULL && at != out && at[-1] != '\n')
		at = strstr(at + 1, key);
	return at == NULL ? -1 : strtol(at + sizeof(key) - 1, NULL, 10);
}

int world_stop(struct world *w)
{
	int err = frame_send(w->chan[ROLE_MAIN], IPC_STOP, 0, NULL, 0, NULL, 0);
	int status = ended(w->role);
	assert_true(err == 0 || err == -EPIPE);
	for (unsigned i = 0; i < ROLE_COUNT; i++) {
		frame_chan_free(w->chan[i]);
		w->chan[i] = NULL;
	}
	w->role = 0;
	return status;
}

void world_leave(struct world *w)
{
	char program[] = "/bin/rm", option[] = "-rf", out[16];
	char *const argv[] = { program, option, w->dir, NULL };
	if (w->nsd != 0) {
		kill(w->nsd, SIGTERM);
		ended(w->nsd);
	}
	run(argv, out, sizeof(out));
}
