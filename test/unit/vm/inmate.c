/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in the place of a VMM or a file server, started by the daemon as those are, and tries what one that was taken
 * over would. What it found goes line by line into a pipe, which the test reads through /proc; then it waits to be
 * killed. A line "reached …" is an escape.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT_FD = 100, FDS_SEEN = 1024, TREE_DEPTH = 3 };

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vdprintf(REPORT_FD, fmt, ap);
	va_end(ap);
}

/* What must not succeed. */
static void tried(const char *what, bool done)
{
	if (done)
		say("reached %s\n", what);
}

static void who(void)
{
	uid_t u[3];
	gid_t g[3], groups[8];
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { 0 };
	unsigned bounding = 0;
	getresuid(&u[0], &u[1], &u[2]);
	getresgid(&g[0], &g[1], &g[2]);
	syscall(SYS_capget, &h, d);
	for (int i = 0; i < 64; i++)
		bounding += prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1;
	say("ids %u %u %u %u %u %u %d\n", u[0], u[1], u[2], g[0], g[1], g[2], getgroups(8, groups));
	say("capabilities %x %x %x %u\n", d[0].effective | d[1].effective, d[0].permitted | d[1].permitted,
		d[0].inheritable | d[1].inheritable, bounding);
	say("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	say("processes %d %d\n", getpid(), getppid());
	tried("another uid", setresuid(0, 0, 0) == 0 && geteuid() != u[1]);
	tried("another gid", setgroups(1, (gid_t[]){ 0 }) == 0);
	tried("another process", kill(2, 0) == 0 || ptrace(PTRACE_ATTACH, 2, NULL, NULL) == 0);
}

/* The names at the top, and whether anything may be written down to some depth. */
static void try_tree(const char *dir, unsigned depth)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char path[4096];
		struct stat st;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s%s%s", dir, dir[1] == '\0' ? "" : "/", e->d_name);
		if (lstat(path, &st) != 0 || strcmp(path, "/proc") == 0)
			continue;
		if (depth == 0)
			say("top %s %o\n", path, (unsigned)st.st_mode & S_IFMT);
		int fd = S_ISREG(st.st_mode) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
		/* What is lent is to be written. */
		bool lent = strncmp(path, "/share/0", 8) == 0;
		if (fd >= 0 && !lent)
			say("reached %s for writing\n", path);
		if (fd >= 0)
			close(fd);
		if (S_ISDIR(st.st_mode) && depth < TREE_DEPTH && !lent)
			try_tree(path, depth + 1);
	}
	if (d != NULL)
		closedir(d);
	char name[4096];
	snprintf(name, sizeof(name), "%s/inmate-was-here", dir);
	tried(dir, mkdir(name, 0755) == 0);
}

static void files(char *const *paths)
{
	struct stat st;
	try_tree("/", 0);
	for (; *paths != NULL; paths++)
		tried(*paths, stat(*paths, &st) == 0);
	tried("a mount", mount("x", "/usr/lib", "tmpfs", 0, NULL) == 0);
	tried("a remount", mount(NULL, "/usr/lib", NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
	tried("an unmount", umount2("/usr/lib", MNT_DETACH) == 0);
	tried("a device", mknod("/dev/sda", S_IFBLK | 0600, 8 << 8) == 0);
	tried("another root", chroot("/usr") == 0 && stat("/lib", &st) != 0);
}

static int connects(int family, int type, const void *a, socklen_t len)
{
	int s = socket(family, type | SOCK_CLOEXEC, 0);
	int err = s < 0 || connect(s, a, len) != 0 ? errno : 0;
	if (s >= 0)
		close(s);
	return err;
}

static void try_v4(const char *text, unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	inet_pton(AF_INET, text, &a.sin_addr);
	tried(text, connects(AF_INET, SOCK_STREAM, &a, sizeof(a)) == 0);
	tried("udp", connects(AF_INET, SOCK_DGRAM, &a, sizeof(a)) == 0);
}

static void network(void)
{
	struct if_nameindex *all = if_nameindex();
	for (struct if_nameindex *i = all; i != NULL && i->if_index != 0; i++)
		say("interface %s\n", i->if_name);
	if_freenameindex(all);
	try_v4("127.0.0.1", 22);
	try_v4("198.51.100.10", 80);
	try_v4("100.64.0.1", 53);
	struct sockaddr_un u = { .sun_family = AF_UNIX, .sun_path = "/run/sekisho/api" };
	tried("the control socket", connects(AF_UNIX, SOCK_STREAM, &u, sizeof(u)) == 0);
	struct sockaddr_un hidden = { .sun_family = AF_UNIX, .sun_path = "\0sekisho-lab" };
	tried("an abstract socket",
		connects(AF_UNIX, SOCK_STREAM, &hidden, offsetof(struct sockaddr_un, sun_path) + 12) == 0);
	tried("a packet socket", socket(AF_PACKET, SOCK_RAW, 0) >= 0);
	tried("a raw socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0);
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tried("an interface's flags", s >= 0 && ioctl(s, SIOCSIFFLAGS, &up) == 0);
	close(s);
}

static const char *kind_of(int fd)
{
	struct stat st;
	struct sockaddr_storage a;
	socklen_t len = sizeof(a), one = sizeof(int);
	int listening = 0;
	if (fstat(fd, &st) != 0)
		return "unknown";
	if (S_ISDIR(st.st_mode))
		return "directory";
	if (S_ISREG(st.st_mode))
		return "file";
	if (S_ISFIFO(st.st_mode))
		return "fifo";
	if (S_ISCHR(st.st_mode))
		return st.st_rdev == 0x103 ? "null" : "device";
	if (!S_ISSOCK(st.st_mode) || getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		return "unknown";
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &one);
	return a.ss_family != AF_UNIX ? "foreign" : listening ? "listening" : "connected";
}

static void descriptors(void)
{
	for (int fd = 0; fd < FDS_SEEN; fd++) {
		if (fd != REPORT_FD && fd != REPORT_FD + 1 && fcntl(fd, F_GETFD) >= 0)
			say("fd %d %s\n", fd, kind_of(fd));
	}
}

static void limits(void)
{
	static const int which[] = { RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_NPROC };
	struct rlimit l;
	for (size_t i = 0; i < sizeof(which) / sizeof(*which); i++) {
		getrlimit(which[i], &l);
		say("limit %zu %llu %llu\n", i, (unsigned long long)l.rlim_cur, (unsigned long long)l.rlim_max);
		l.rlim_cur = l.rlim_max += 1;
		tried("a higher limit", setrlimit(which[i], &l) == 0);
	}
	struct shm_info info;
	say("shared memory %d %d\n", shmctl(0, SHM_INFO, (struct shmid_ds *)&info), info.used_ids);
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "sekisho-lab", 0);
	tried("the daemon's keys", key > 0);
}

/* A namespace of its own gives capabilities over nothing that is here. */
static void deeper(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
			tried("a remount, deeper", mount(NULL, "/usr/lib", NULL, MS_REMOUNT | MS_BIND, NULL) == 0 &&
							   mkdir("/usr/lib/inmate-was-here", 0755) == 0);
			tried("what lies below, deeper", umount2("/usr/lib", MNT_DETACH) == 0);
			tried("another uid, deeper", setresuid(0, 0, 0) == 0);
		}
		_exit(0);
	}
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	say("deeper %d\n", pid > 0 ? status : -1);
}

int main(int argc, char **argv)
{
	/* Further things that must not be there, by path. */
	static char *hidden[] = { "/etc", "/etc/passwd", "/run", "/run/sekisho", "/sys", "/home", "/root", "/tmp",
		"/var", "/dev/net/tun", "/dev/mem", "/dev/vhost-net", "/proc/2", NULL };
	/* No file: some may write none. */
	int ends[2];
	if (pipe(ends) != 0 || dup2(ends[1], REPORT_FD) < 0 || dup2(ends[0], REPORT_FD + 1) < 0)
		return 1;
	close(ends[0]);
	close(ends[1]);
	(void)argc;
	say("program %s\n", argv[0]);
	descriptors();
	limits();
	network();
	files(hidden);
	deeper();
	who();
	say("end\n");
	for (;;)
		pause();
}
