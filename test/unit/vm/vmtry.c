/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boots one VM without the daemon and runs a command in it, as `sekisho run` would: main's part, the keeper's part in a
 * child, the client's. -S stores the machine instead, -R resumes it. usage: vmtry [-t] [-m MIB] [-u UID] [-T TAP] [-k]
 * [-v] [-i EROFS [-l EXT4]] [-S FILE | -R FILE] [-f FIRECRACKER -b BRIDGE] STATE_DIR INIT -- COMMAND...
 */
#include "base/clock.h"
#include "vm/backend.h"
#include "vm/relay.h"
#include "vm/tap.h"
#include "vm/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { VM_UID = 2000001030 };

static bool warm;

static int keeper(const char *dir, int client, const struct agent_exec *e, bool verbose)
{
	struct loop *loop;
	struct vm_relay *r;
	struct vm_channels c;
	if (vm_connect(dir, &c) != 0)
		return 125;
	struct vm_relay_fds fds = { .client = client, .guest = c.ctl, .qmp = c.qmp, .console = c.serial, .log = c.log };
	if (loop_new(&loop) != 0 || vm_relay_new(loop, 1, &fds, e, warm, clock_boot_ms(), &r) != 0)
		return 125;
	while (!vm_relay_done(r)) {
		struct loop_event ev;
		if (loop_next(loop, vm_relay_deadline(r), &ev))
			vm_relay_event(r, &ev, clock_boot_ms());
		else
			vm_relay_tick(r, clock_boot_ms());
	}
	static char console[VM_RING];
	size_t n = vm_relay_console(r, console, sizeof(console));
	if (verbose)
		fprintf(stderr, "[console]\n%.*s\n", (int)n, console);
	int status = vm_relay_exit(r)->status;
	vm_relay_free(r);
	loop_free(loop);
	return status;
}

static int sock, status = -1;
static int64_t started_us;
static bool verbose;
static volatile sig_atomic_t winch, got_signal;

static void on_signal(int sig)
{
	if (sig == SIGWINCH)
		winch = 1;
	else
		got_signal = sig;
}

static void put(const struct wr *w)
{
	for (size_t done = 0; done < w->len;) {
		ssize_t n = send(sock, w->buf + done, w->len - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			exit(125);
		done += (size_t)n;
	}
}

static uint32_t stdin_credit = AGENT_WINDOW;

static void write_fd(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n <= 0)
			exit(125);
		p += n;
		len -= (size_t)n;
	}
}

static void take(const struct agent_frame *f)
{
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	uint32_t credit;
	struct agent_exit e;
	if (verbose)
		fprintf(stderr, "[%.3f s] frame %d/%d %zu\n", (double)(clock_mono_us() - started_us) / 1e6, f->type,
			f->stream, f->len);
	if (f->type == AGENT_DATA) {
		write_fd(f->stream == AGENT_STDERR ? 2 : 1, f->body, f->len);
		agent_put_credit(&w, f->stream, (uint32_t)f->len);
		put(&w);
	} else if (f->type == AGENT_CREDIT && agent_get_credit(f, &credit)) {
		stdin_credit += credit;
	} else if (f->type == AGENT_EXIT && agent_get_exit(f, &e)) {
		status = e.status;
		if (e.reason[0] != 0)
			fprintf(stderr, "vmtry: %s\n", e.reason);
	}
}

static bool read_stdin(void)
{
	static uint8_t data[AGENT_DATA_MAX], buf[AGENT_FRAME_MAX];
	size_t want = stdin_credit < sizeof(data) ? stdin_credit : sizeof(data);
	ssize_t n = read(0, data, want);
	if (n < 0 && errno == EINTR)
		return true;
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, n > 0 ? AGENT_DATA : AGENT_EOF, AGENT_STDIN, data, n > 0 ? (size_t)n : 0);
	put(&w);
	if (n > 0)
		stdin_credit -= (uint32_t)n;
	return n > 0;
}

static void pass_signals(void)
{
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	struct winsize size;
	if (winch && ioctl(0, TIOCGWINSZ, &size) == 0)
		agent_put_winch(&w, size.ws_row, size.ws_col);
	if (got_signal)
		agent_put_signal(&w, (uint8_t)got_signal);
	winch = 0;
	got_signal = 0;
	put(&w);
}

static void client(void)
{
	static struct agent_in in;
	static uint8_t buf[65536];
	bool more = true;
	while (status < 0) {
		struct pollfd p[2] = { { .fd = sock, .events = POLLIN },
			{ .fd = more && stdin_credit > 0 ? 0 : -1, .events = POLLIN } };
		int n_ready = poll(p, 2, -1);
		pass_signals();
		if (n_ready <= 0)
			continue;
		if (p[1].revents != 0)
			more = read_stdin();
		if (p[0].revents == 0)
			continue;
		ssize_t n = read(sock, buf, sizeof(buf));
		if (n <= 0) {
			fprintf(stderr, "vmtry: the keeper has gone\n");
			status = 125;
			return;
		}
		const uint8_t *at = buf;
		size_t len = (size_t)n;
		struct agent_frame f;
		while (agent_in_take(&in, &at, &len, &f) == 1)
			take(&f);
	}
}

static void fill_exec(struct agent_exec *e, char **argv)
{
	snprintf(e->hostname, sizeof(e->hostname), "vmtry");
	snprintf(e->user, sizeof(e->user), e->uid == 0 ? "root" : "person");
	snprintf(e->home, sizeof(e->home), e->uid == 0 ? "/root" : "/home/person");
	struct winsize size;
	if (e->tty && ioctl(0, TIOCGWINSZ, &size) == 0) {
		e->rows = size.ws_row;
		e->cols = size.ws_col;
	}
	for (; *argv != NULL; argv++, e->argc++)
		e->strings_len += (uint32_t)snprintf(e->strings + e->strings_len, sizeof(e->strings) - e->strings_len,
					  "%s", *argv) +
				  1;
	if (e->has_net) {
		mac_parse("02:00:00:00:00:02", &e->mac);
		addr_parse("192.0.2.2", &e->v4);
		addr_parse("192.0.2.1", &e->v4_gateway);
		addr_parse("2001:db8::2", &e->v6);
		addr_parse("2001:db8::1", &e->v6_gateway);
		addr_parse("192.0.2.1", &e->dns[0]);
		e->v4_prefix = 30;
		e->v6_prefix = 64;
	}
}

struct options {
	struct vm_spec spec;
	struct agent_exec exec;
	const char *tap, *store;
	bool kvm;
};

static bool take_options(struct options *o, int argc, char **argv)
{
	for (int c; (c = getopt(argc, argv, "+tm:u:T:kvi:l:S:R:f:b:")) != -1;) {
		if (c == 't')
			o->exec.tty = true;
		else if (c == 'm')
			o->spec.memory_mib = (unsigned)atoi(optarg);
		else if (c == 'u')
			o->exec.uid = o->exec.gid = (uint32_t)atoi(optarg);
		else if (c == 'T')
			o->tap = optarg;
		else if (c == 'k')
			o->kvm = true;
		else if (c == 'i')
			o->spec.root = (struct vm_root){ VM_ROOT_IMAGE, open(optarg, O_RDONLY | O_CLOEXEC), -1 };
		else if (c == 'l')
			o->spec.root.layer_fd = open(optarg, O_RDWR | O_CLOEXEC);
		else if (c == 'S')
			o->store = optarg;
		else if (c == 'R')
			o->spec.resume_fd = open(optarg, O_RDONLY | O_CLOEXEC);
		else if (c == 'f') {
			o->spec.vmm = VM_VMM_FIRECRACKER;
			o->spec.firecracker = optarg;
			o->spec.tso = true;
			if (o->spec.root.kind == VM_ROOT_HOST)
				o->spec.root.kind = VM_ROOT_NONE;
		} else if (c == 'b')
			o->spec.bridge = optarg;
		else if (c == 'v')
			verbose = true;
		else
			return false;
	}
	if (argc - optind >= 4)
		return true;
	fprintf(stderr,
		"usage: vmtry [-t] [-m MIB] [-u UID] [-T TAP] [-k] [-v] [-i EROFS [-l EXT4]] [-S FILE | -R FILE] [-f FIRECRACKER -b BRIDGE] STATE_DIR INIT -- COMMAND...\n");
	return false;
}

static void say(const char *what)
{
	if (verbose)
		fprintf(stderr, "[%.3f s] %s\n", (double)(clock_mono_us() - started_us) / 1e6, what);
}

static int store(const struct options *o)
{
	struct vm_spec s;
	struct vm_proc p;
	struct vm_channels c;
	char error[VM_ERROR_MAX] = "";
	int file = open(o->store, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = vm_warm_blank(&o->spec, &s);
	s.blind_nic = o->tap != NULL;
	if (err == 0)
		err = vm_start(&s, &p, error);
	if (err == 0)
		err = vm_connect(s.dir, &c);
	if (err == 0) {
		err = vm_warm_store(c.ctl, c.qmp, file);
		char said[4096];
		ssize_t n = err == 0 ? 0 : read(c.log, said, sizeof(said));
		if (n > 0)
			fprintf(stderr, "%.*s", (int)n, said);
		vm_channels_close(&c);
		vm_kill(&p);
	}
	say(err == 0 ? "stored" : strerror(-err));
	vm_clean(s.dir);
	rmdir(s.dir);
	return err == 0 ? 0 : 125;
}

/* The keeper in a process of its own, the client here. */
static int converse(const char *dir, const struct agent_exec *e)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		prctl(PR_SET_PDEATHSIG, 0);
		_exit(keeper(dir, pair[1], e, verbose));
	}
	close(pair[1]);
	sock = pair[0];
	struct sigaction sa = { .sa_handler = on_signal };
	sigaction(SIGWINCH, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	struct termios was;
	bool raw = e->tty && tcgetattr(0, &was) == 0;
	if (raw) {
		struct termios t = was;
		cfmakeraw(&t);
		tcsetattr(0, TCSANOW, &t);
	}
	client();
	if (raw)
		tcsetattr(0, TCSANOW, &was);
	waitpid(pid, NULL, 0);
	return 0;
}

int main(int argc, char **argv)
{
	static char dir[] = "/tmp/vmtry.XXXXXX";
	static struct options o = { .exec = { .uid = 1000, .gid = 1000 },
		.spec = { .uid = VM_UID,
			.share_uid = VM_UID + 1,
			.root = { .kind = VM_ROOT_HOST, .image_fd = -1, .layer_fd = -1 },
			.tap_fd = -1,
			.accel = VM_ACCEL_TCG,
			.vmm = VM_VMM_QEMU,
			.dir = dir } };
	char error[VM_ERROR_MAX] = "";
	struct vm_kernel k;
	struct vm_proc p;
	if (!take_options(&o, argc, argv))
		return 125;
	int err = vm_kernel_find(argv[optind], argv[optind + 1], &k, error);
	if (err == 0) {
		o.spec.kernel = &k;
		o.spec.tap_fd = o.tap == NULL ? -1 : vm_tap_open(o.tap, true, o.spec.uid);
		o.exec.has_net = o.tap != NULL;
		mac_parse("02:00:00:00:00:02", &o.spec.mac);
		if (mkdtemp(dir) == NULL)
			return 125;
		fill_exec(&o.exec, argv + optind + (strcmp(argv[optind + 2], "--") == 0 ? 3 : 2));
		if (o.kvm)
			o.spec.accel = VM_ACCEL_KVM;
		started_us = clock_mono_us();
		warm = o.spec.resume_fd > 0;
		if (o.store != NULL)
			return store(&o);
		err = vm_start(&o.spec, &p, error);
	}
	if (err != 0) {
		fprintf(stderr, "vmtry: %s\n", error);
		return 125;
	}
	say(o.spec.accel == VM_ACCEL_KVM ? "started on KVM" : "started on TCG");
	if (verbose)
		fprintf(stderr, "[%.3f s] vmm %d, share %d\n", (double)(clock_mono_us() - started_us) / 1e6,
			(int)p.vmm.pid, (int)p.share.pid);
	if (converse(dir, &o.exec) != 0)
		return 125;
	vm_kill(&p);
	vm_clean(dir);
	rmdir(dir);
	say("end");
	return status;
}
