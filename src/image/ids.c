/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* For root, whom nobody gives a range: behind those that others use (systemd-nspawn ends at 1879048191). */
enum { ROOT_FIRST = 1879048192 };

static bool range_line(char *line, const char *name, uid_t uid, uint32_t *ret_first)
{
	char *rest = line, *who = strsep(&rest, ":"), *first = strsep(&rest, ":"), *end;
	if (rest == NULL)
		return false;
	unsigned long id = strtoul(who, &end, 10);
	bool mine = (name != NULL && strcmp(who, name) == 0) || (*who != 0 && *end == 0 && id == uid);
	unsigned long from = strtoul(first, &end, 10);
	if (!mine || *first == 0 || *end != 0 || from == 0 || from > UINT32_MAX - IDS)
		return false;
	if (strtoul(rest, &end, 10) < IDS - 1 || (*end != 0 && *end != '\n'))
		return false;
	*ret_first = (uint32_t)from;
	return true;
}

bool ids_range(FILE *f, const char *name, uid_t uid, uint32_t *ret_first)
{
	char line[512];
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (range_line(line, name, uid, ret_first))
			return true;
	}
	return false;
}

static bool own_range(const char *path, uint32_t *ret_first)
{
	const struct passwd *pw = getpwuid(getuid());
	FILE *f = fopen(path, "re");
	bool found = ids_range(f, pw == NULL ? NULL : pw->pw_name, getuid(), ret_first);
	if (f != NULL)
		fclose(f);
	return found;
}

static int write_proc(pid_t pid, const char *file, const char *text)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = write(fd, text, strlen(text)) > 0 ? 0 : -errno;
	close(fd);
	return err;
}

/* newuidmap(1): setuid root, knows which ids are whose. */
static bool map_helper(const char *program, pid_t pid, uid_t own, uint32_t first)
{
	char text[4][16];
	snprintf(text[0], sizeof(text[0]), "%d", (int)pid);
	snprintf(text[1], sizeof(text[1]), "%u", (unsigned)own);
	snprintf(text[2], sizeof(text[2]), "%u", (unsigned)first);
	snprintf(text[3], sizeof(text[3]), "%d", IDS - 1);
	pid_t child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		dup2(null, STDERR_FILENO);
		execlp(program, program, text[0], "0", text[1], "1", "1", text[2], text[3], (char *)NULL);
		_exit(127);
	}
	int status = 1;
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return child > 0 && status == 0;
}

static int map_root(pid_t pid)
{
	char map[64];
	snprintf(map, sizeof(map), "0 0 1\n1 %d %d\n", ROOT_FIRST, IDS - 1);
	int err = write_proc(pid, "uid_map", map);
	return err != 0 ? err : write_proc(pid, "gid_map", map);
}

static int map_single(pid_t pid)
{
	char map[64];
	snprintf(map, sizeof(map), "0 %u 1\n", (unsigned)getuid());
	int err = write_proc(pid, "uid_map", map);
	if (err == 0)
		err = write_proc(pid, "setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1\n", (unsigned)getgid());
	return err != 0 ? err : write_proc(pid, "gid_map", map);
}

int ids_map(pid_t pid, bool *ret_all)
{
	uint32_t uids, gids;
	*ret_all = true;
	if (getuid() == 0 && map_root(pid) == 0)
		return 0;
	if (getuid() != 0 && own_range("/etc/subuid", &uids) && own_range("/etc/subgid", &gids) &&
		map_helper("newuidmap", pid, getuid(), uids))
		return map_helper("newgidmap", pid, getgid(), gids) ? 0 : -EPERM;
	*ret_all = false;
	return map_single(pid);
}
