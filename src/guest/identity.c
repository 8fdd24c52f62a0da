/* SPDX-License-Identifier: Apache-2.0 */
/* Who and when this guest is: clock, entropy, name, the files of /etc that differ from the host's, the user's home. */
#include "guest/setup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int seed_entropy(const uint8_t seed[AGENT_SEED_LEN])
{
	/* random(4): the seed stands behind the two numbers. */
	const struct rand_pool_info head = { .entropy_count = AGENT_SEED_LEN * 8, .buf_size = AGENT_SEED_LEN };
	_Alignas(struct rand_pool_info) uint8_t pool[sizeof(head) + AGENT_SEED_LEN];
	memcpy(pool, &head, sizeof(head));
	memcpy(pool + sizeof(head), seed, AGENT_SEED_LEN);
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* The second: from now on, not at the next occasion. */
	int err = ioctl(fd, RNDADDENTROPY, pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0 ? 0 : -errno;
	close(fd);
	return err;
}

static int set_clock(int64_t wall_us)
{
	struct timespec t = { .tv_sec = wall_us / 1000000, .tv_nsec = wall_us % 1000000 * 1000 };
	return wall_us <= 0 || clock_settime(CLOCK_REALTIME, &t) == 0 ? 0 : -errno;
}

/* Replaces a file; what stands there may be a symbolic link to a place that the guest does not have. */
static int write_file(const char *path, const char *text)
{
	if (unlink(path) != 0 && errno != ENOENT)
		return -errno;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	int err = write(fd, text, len) == (ssize_t)len ? 0 : -EIO;
	close(fd);
	return err;
}

static int write_resolver(const struct agent_exec *e)
{
	char text[256] = "", addr[ADDR_TEXT_MAX];
	for (size_t i = 0; i < 2; i++) {
		size_t at = strlen(text);
		if (e->dns[i].len != 0)
			snprintf(text + at, sizeof(text) - at, "nameserver %s\n",
				addr_format(&e->dns[i], addr, sizeof(addr)));
	}
	return write_file("/etc/resolv.conf", text);
}

static int write_hosts(const struct agent_exec *e)
{
	char text[512];
	snprintf(text, sizeof(text),
		"127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
		e->hostname);
	int err = write_file("/etc/hosts", text);
	if (err != 0)
		return err;
	snprintf(text, sizeof(text), "%s\n", e->hostname);
	return write_file("/etc/hostname", text);
}

/* machine-id(5): one that is there is the system's own. */
static int write_machine_id(void)
{
	struct stat st;
	uint8_t id[16];
	char text[2 * sizeof(id) + 2] = "";
	if (stat("/etc/machine-id", &st) == 0 && st.st_size > 0)
		return 0;
	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return -EIO;
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
	strcat(text, "\n");
	return write_file("/etc/machine-id", text);
}

/* Programs look their user up; an account that the host keeps elsewhere (LDAP) gets a line of its own. */
static int write_account(const struct agent_exec *e)
{
	FILE *f = fopen("/etc/passwd", "re");
	bool found = false;
	char line[1024];
	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
		unsigned uid;
		const char *p = strchr(line, ':');
		p = p == NULL ? NULL : strchr(p + 1, ':');
		found = p != NULL && sscanf(p + 1, "%u", &uid) == 1 && uid == e->uid;
	}
	if (f != NULL)
		fclose(f);
	if (found)
		return 0;
	f = fopen("/etc/passwd", "ae");
	if (f == NULL)
		return -errno;
	fprintf(f, "%s:x:%u:%u::%s:/bin/sh\n", e->user, e->uid, e->gid, e->home);
	return fclose(f) == 0 ? 0 : -errno;
}

int make_dir_of(const struct agent_exec *e, const char *dir)
{
	static_assert(sizeof(e->home) == sizeof(e->cwd), "one path");
	char path[sizeof(e->home)];
	snprintf(path, sizeof(path), "%s", dir);
	for (char *p = path + 1; path[0] == '/' && *p != 0; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (path[0] != '/' || path[1] == 0)
		return 0;
	if (mkdir(path, 0700) == 0)
		return chown(path, e->uid, e->gid) == 0 ? 0 : -errno;
	return errno == EEXIST ? 0 : -errno;
}

int setup_fresh(const struct agent_exec *e)
{
	int err = set_clock(e->wall_us);
	return err == 0 ? seed_entropy(e->seed) : err;
}

int setup_identity(const struct agent_exec *e)
{
	int err = 0;
	if (e->hostname[0] != 0)
		err = sethostname(e->hostname, strlen(e->hostname)) == 0 ? 0 : -errno;
	/* Without a root of its own (the probe) there is no /etc. */
	if (err != 0 || access("/etc", F_OK) != 0)
		return err;
	err = write_resolver(e);
	if (err == 0)
		err = write_hosts(e);
	if (err == 0)
		err = write_machine_id();
	/* An image's users are its own. */
	if (err == 0 && !e->guest_user)
		err = write_account(e);
	if (err == 0)
		err = make_dir_of(e, e->guest_user ? e->cwd : e->home);
	return err;
}
