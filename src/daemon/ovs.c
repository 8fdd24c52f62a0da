/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ovs.h"

#include "base/clock.h"
#include "daemon/link.h"
#include "daemon/program.h"
#include "daemon/unixctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { STOP_MS = 5000, CALL_MS = 10000, LOG_MAX = 4 << 20, BOOT_SETTLED_MS = 11000 };

static const char schema[] = "/usr/share/openvswitch/vswitch.ovsschema";

static int __attribute__((format(printf, 3, 4))) fail(char *error, int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(error, OVS_ERROR_MAX, fmt, ap);
	va_end(ap);
	return err;
}

static void ovs_path(const struct ovs *o, const char *name, char ret[OVS_PATH_MAX + 64])
{
	snprintf(ret, OVS_PATH_MAX + 64, "%s/%s", o->dir, name);
}

static pid_t read_pid(const struct ovs *o, const char *name)
{
	char path[OVS_PATH_MAX + 64], text[32] = "";
	ovs_path(o, name, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;
	return pid > 1 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/* The process is what its pidfile says, and lives in our network namespace: pids come back, and a run_dir may be taken
 * elsewhere. */
static bool process_is(pid_t pid, const char *comm)
{
	char path[64], have[32] = "";
	struct stat theirs, ours;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, have, sizeof(have) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	have[strcspn(have, "\n")] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	return strcmp(have, comm) == 0 && stat(path, &theirs) == 0 && stat("/proc/self/ns/net", &ours) == 0 &&
	       theirs.st_ino == ours.st_ino;
}

static void forget_process(pid_t *pid, int *pidfd)
{
	if (*pidfd >= 0)
		close(*pidfd);
	*pidfd = -1;
	*pid = 0;
}

/* Finds the process behind a pidfile; sets pid and pidfd, or 0 and -1. */
static bool find_process(const struct ovs *o, const char *program, pid_t *ret_pid, int *ret_pidfd)
{
	char name[64];
	snprintf(name, sizeof(name), "%s.pid", program);
	forget_process(ret_pid, ret_pidfd);
	pid_t pid = read_pid(o, name);
	int fd = pid == 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0 || !process_is(pid, program)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	*ret_pid = pid;
	*ret_pidfd = fd;
	return true;
}

static bool process_ended(int pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	return poll(&p, 1, timeout_ms) > 0;
}

static int connect_path(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static void ctl_path(const struct ovs *o, const char *program, pid_t pid, char ret[OVS_PATH_MAX + 64])
{
	char name[64];
	snprintf(name, sizeof(name), "%s.%d.ctl", program, (int)pid);
	ovs_path(o, name, ret);
}

int ovs_connect(const struct ovs *o, const char *name)
{
	char path[OVS_PATH_MAX + 64];
	size_t len = strlen(name);
	if (strcmp(name, "db") == 0) {
		ovs_path(o, "db.sock", path);
	} else if (strcmp(name, "ctl") == 0) {
		pid_t pid = read_pid(o, "ovs-vswitchd.pid");
		if (pid == 0)
			return -ENOENT;
		ctl_path(o, "ovs-vswitchd", pid, path);
	} else if (len > 5 && len < 5 + LINK_NAME_MAX && strcmp(name + len - 5, ".mgmt") == 0 &&
		   strchr(name, '/') == NULL) {
		ovs_path(o, name, path);
	} else {
		return -EINVAL;
	}
	return connect_path(path);
}

int ovs_connect_db(const struct ovs *o)
{
	return ovs_connect(o, "db");
}

int ovs_connect_ctl(const struct ovs *o)
{
	return ovs_connect(o, "ctl");
}

int ovs_connect_mgmt(const struct ovs *o, const char *bridge)
{
	char name[LINK_NAME_MAX + 8];
	snprintf(name, sizeof(name), "%.15s.mgmt", bridge);
	return ovs_connect(o, name);
}

int ovs_run(const struct ovs *o, const char *const *argv, const char *input, char *error)
{
	char run[OVS_PATH_MAX + 32], db[OVS_PATH_MAX + 32], log[OVS_PATH_MAX + 32], etc[OVS_PATH_MAX + 32], said[160];
	snprintf(run, sizeof(run), "OVS_RUNDIR=%s", o->dir);
	snprintf(db, sizeof(db), "OVS_DBDIR=%s", o->dir);
	snprintf(log, sizeof(log), "OVS_LOGDIR=%s", o->dir);
	snprintf(etc, sizeof(etc), "OVS_SYSCONFDIR=%s", o->dir);
	const char *const env[] = { run, db, log, etc, NULL };
	int status = program_run(argv, env, input, said, sizeof(said));
	if (status == 0)
		return 0;
	if (status == 127 || status == 126) /* not there, or not to be executed */
		return fail(error, -ENOENT, "%s is missing or cannot be executed: apt-get install openvswitch-switch",
			argv[0]);
	said[strcspn(said, "\n")] = '\0';
	return fail(error, status < 0 ? status : -EIO, "%s failed (%d): %s", argv[0], status, said);
}

int ovs_del_port(const struct ovs *o, const char *port, char *error)
{
	char db[OVS_PATH_MAX + 32];
	snprintf(db, sizeof(db), "--db=unix:%s/db.sock", o->dir);
	const char *const argv[] = { "ovs-vsctl", "--timeout=5", db, "--if-exists", "del-port", port, NULL };
	return ovs_run(o, argv, NULL, error);
}

int ovs_forget_megaflows(const struct ovs *o, char *error)
{
	static const char *const argv[] = { "ovs-dpctl", "--timeout=5", "del-flows", "system@ovs-system", NULL };
	return strcmp(o->datapath_type, "system") == 0 ? ovs_run(o, argv, NULL, error) : 0;
}

/* Everything in the directory is of a private OVS: database, pidfiles, logs, sockets. */
static void remove_files(const struct ovs *o)
{
	DIR *d = opendir(o->dir);
	if (d == NULL)
		return;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

/* A fresh database: what was wanted is wanted again by switchd, and a damaged file cannot outlive us. The offload
 * switch must stand in it before vswitchd reads it for the first time. */
static int make_database(const struct ovs *o, char *error)
{
	char db[OVS_PATH_MAX + 64], row[256];
	ovs_path(o, "conf.db", db);
	if (access(schema, R_OK) != 0)
		return fail(error, -ENOENT, "%s is missing or cannot be executed: apt-get install openvswitch-switch",
			schema);
	remove_files(o);
	const char *const create[] = { "ovsdb-tool", "create", db, schema, NULL };
	int err = ovs_run(o, create, NULL, error);
	snprintf(row, sizeof(row),
		"[\"Open_vSwitch\",{\"op\":\"insert\",\"table\":\"Open_vSwitch\",\"row\":{\"other_config\":"
		"[\"map\",[[\"userspace-tso-enable\",\"%s\"]]]}}]",
		o->tso ? "true" : "false");
	const char *const init[] = { "ovsdb-tool", "transact", db, row, NULL };
	return err != 0 ? err : ovs_run(o, init, NULL, error);
}

static int start_db(struct ovs *o, char *error)
{
	char db[OVS_PATH_MAX + 64], remote[OVS_PATH_MAX + 80];
	ovs_path(o, "conf.db", db);
	snprintf(remote, sizeof(remote), "--remote=punix:%s/db.sock", o->dir);
	const char *const argv[] = { "ovsdb-server", db, remote, "--pidfile", "--detach", "--no-chdir", "-vconsole:off",
		"-vsyslog:off", "--log-file", NULL };
	int err = ovs_run(o, argv, NULL, error);
	if (err == 0 && !find_process(o, "ovsdb-server", &o->db_pid, &o->db_pidfd))
		err = fail(error, -EIO, "ovsdb-server ended at once; see %s/ovsdb-server.log", o->dir);
	return err;
}

/* OVS 3.1 caches the number of CPUs for ten seconds counted from boot: started earlier, vswitchd has no handler thread
 * and the kernel datapath loses every upcall. */
static void wait_for_boot(void)
{
	int64_t left = BOOT_SETTLED_MS - clock_boot_ms();
	if (left > 0)
		poll(NULL, 0, (int)left);
}

static int start_vswitchd(struct ovs *o, char *error)
{
	char db[OVS_PATH_MAX + 80], ctl[OVS_PATH_MAX + 64];
	wait_for_boot();
	snprintf(db, sizeof(db), "unix:%s/db.sock", o->dir);
	/* As ovs-ctl does, in all its threads. */
	const char *const argv[] = { "nice", "-n", "-10", "ovs-vswitchd", db, "--pidfile", "--detach", "--no-chdir",
		"-vconsole:off", "-vsyslog:off", "--log-file", NULL };
	int err = ovs_run(o, argv, NULL, error);
	if (err != 0)
		return err;
	if (!find_process(o, "ovs-vswitchd", &o->vswitchd_pid, &o->vswitchd_pidfd))
		return fail(error, -EIO, "ovs-vswitchd ended at once; see %s/ovs-vswitchd.log", o->dir);
	ctl_path(o, "ovs-vswitchd", o->vswitchd_pid, ctl);
	err = unixctl_call(ctl, "version", NULL, CALL_MS, NULL);
	return err == 0 ? 0 : fail(error, err, "ovs-vswitchd does not answer: %s", strerror(-err));
}

static void end_process(const struct ovs *o, const char *program, const char *const *args, pid_t *pid, int *pidfd)
{
	char path[OVS_PATH_MAX + 64];
	if (*pid == 0)
		return;
	ctl_path(o, program, *pid, path);
	if (unixctl_call(path, "exit", args, STOP_MS, NULL) != 0 || !process_ended(*pidfd, STOP_MS)) {
		syscall(SYS_pidfd_send_signal, *pidfd, SIGKILL, NULL, 0);
		process_ended(*pidfd, STOP_MS);
		unlink(path);
	}
	forget_process(pid, pidfd);
}

static void end_both(struct ovs *o)
{
	static const char *const cleanup[] = { "--cleanup", NULL };
	end_process(o, "ovs-vswitchd", cleanup, &o->vswitchd_pid, &o->vswitchd_pidfd);
	end_process(o, "ovsdb-server", NULL, &o->db_pid, &o->db_pidfd);
	remove_files(o);
}

void ovs_stop(struct ovs *o)
{
	char error[OVS_ERROR_MAX];
	if (o->private && o->dir[0] != '\0') {
		/* A vswitchd that was killed left its taps behind (they are persistent); only another one takes them
		 * away. */
		if (ovs_restart(o, error) != 0)
			o->adopted = false;
		end_both(o);
		rmdir(o->dir);
	}
	ovs_close(o);
}

void ovs_close(struct ovs *o)
{
	forget_process(&o->db_pid, &o->db_pidfd);
	forget_process(&o->vswitchd_pid, &o->vswitchd_pidfd);
	o->dir[0] = '\0';
}

int ovs_restart(struct ovs *o, char *error)
{
	int err = 0;
	if (!o->private)
		return 0;
	if (o->db_pidfd < 0 || process_ended(o->db_pidfd, 0))
		err = start_db(o, error);
	if (err == 0 && (o->vswitchd_pidfd < 0 || process_ended(o->vswitchd_pidfd, 0)))
		err = start_vswitchd(o, error);
	return err;
}

pid_t ovs_vswitchd_pid(const struct ovs *o)
{
	return read_pid(o, "ovs-vswitchd.pid");
}

int ovs_without_tso(struct ovs *o, char *error)
{
	static const char *const cleanup[] = { "--cleanup", NULL };
	char db[OVS_PATH_MAX + 32];
	o->tso = false;
	if (!o->private || strcmp(o->datapath_type, "system") == 0)
		return 0;
	snprintf(db, sizeof(db), "--db=unix:%s/db.sock", o->dir);
	const char *const argv[] = { "ovs-vsctl", db, "--timeout=5", "--no-wait", "set", "Open_vSwitch", ".",
		"other_config:userspace-tso-enable=false", NULL };
	int err = ovs_run(o, argv, NULL, error);
	if (err != 0)
		return err;
	end_process(o, "ovs-vswitchd", cleanup, &o->vswitchd_pid, &o->vswitchd_pidfd);
	return start_vswitchd(o, error);
}

void ovs_trim_log(const struct ovs *o)
{
	static const char *const logs[] = { "ovsdb-server.log", "ovs-vswitchd.log" };
	struct stat st;
	char path[OVS_PATH_MAX + 64];
	for (unsigned i = 0; o->private && o->dir[0] != '\0' && i < 2; i++) {
		ovs_path(o, logs[i], path);
		/* OVS appends, so writing goes on at the start. */
		if (stat(path, &st) == 0 && st.st_size > LOG_MAX && truncate(path, 0) != 0)
			return;
	}
}

static int open_private(struct ovs *o, char *error)
{
	if (mkdir(o->dir, 0700) != 0 && errno != EEXIST)
		return fail(error, -errno, "cannot make %s: %s", o->dir, strerror(errno));
	bool db = find_process(o, "ovsdb-server", &o->db_pid, &o->db_pidfd);
	bool vswitchd = find_process(o, "ovs-vswitchd", &o->vswitchd_pid, &o->vswitchd_pidfd);
	int fd = db ? ovs_connect(o, "db") : -ENOENT;
	if (fd >= 0) {
		close(fd);
		o->adopted = vswitchd;
		return ovs_restart(o, error);
	}
	/* Half of one is of no use: the database of a dead server is not trusted, and vswitchd follows its database. */
	end_both(o);
	int err = make_database(o, error);
	if (err == 0)
		err = start_db(o, error);
	if (err == 0)
		err = start_vswitchd(o, error);
	return err;
}

static bool system_runs(const struct ovs *o)
{
	int fd = ovs_connect(o, "db");
	if (fd < 0)
		return false;
	close(fd);
	fd = ovs_connect(o, "ctl");
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int choose_datapath(const struct ovs_conf *conf, struct ovs *o, char *error)
{
	bool kernel = conf->datapath != OVS_DATAPATH_NETDEV && link_has_genl_family("ovs_datapath");
	if (conf->datapath == OVS_DATAPATH_SYSTEM && !kernel)
		return fail(error, -EOPNOTSUPP,
			"datapath = system: this kernel has no openvswitch module; use datapath = auto");
	snprintf(o->datapath_type, sizeof(o->datapath_type), "%s", kernel ? "system" : "netdev");
	/* What is hoped for; the self-test says whether it holds. */
	o->tso = conf->tso;
	return 0;
}

int ovs_open(const struct ovs_conf *conf, struct ovs *ret, char *error)
{
	struct ovs o = { .db_pidfd = -1, .vswitchd_pidfd = -1 };
	const char *dir = conf->system_dir == NULL ? "/run/openvswitch" : conf->system_dir;
	/* The longest socket below it, "/BRIDGE.mgmt" or "/ovs-vswitchd.PID.ctl", must fit sun_path. */
	if (strlen(conf->run_dir) > 70 || strlen(dir) > 70)
		return fail(error, -ENAMETOOLONG, "%s is too long for the sockets below it: at most 70 bytes",
			conf->run_dir);
	snprintf(o.dir, sizeof(o.dir), "%s", dir);
	bool runs = conf->which != OVS_SWITCH_PRIVATE && system_runs(&o);
	if (conf->which == OVS_SWITCH_SYSTEM && !runs)
		return fail(error, -ENOENT,
			"no Open vSwitch runs in %s: systemctl start openvswitch-switch, or use switch = private", dir);
	o.private = !runs;
	int err = choose_datapath(conf, &o, error);
	if (err == 0 && o.private) {
		snprintf(o.dir, sizeof(o.dir), "%s/ovs", conf->run_dir);
		err = open_private(&o, error);
		if (err != 0) {
			end_both(&o);
			rmdir(o.dir);
			ovs_close(&o);
		}
	}
	if (err == 0)
		*ret = o;
	return err;
}
