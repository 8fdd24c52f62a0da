/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES_MAX = 2048 };

struct entry {
	char key[SYSCTL_KEY_MAX], before[SYSCTL_VALUE_MAX], ours[SYSCTL_VALUE_MAX];
};

struct sysctl_record {
	char path[256];
	unsigned n;
	struct entry entries[ENTRIES_MAX];
};

static int sysctl_open(const char *key, int flags)
{
	char path[SYSCTL_KEY_MAX + 32];
	snprintf(path, sizeof(path), "/proc/sys/net/%s", key);
	int fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sysctl_read(const char *key, char value[SYSCTL_VALUE_MAX])
{
	int fd = sysctl_open(key, O_RDONLY);
	if (fd < 0)
		return fd;
	ssize_t n = read(fd, value, SYSCTL_VALUE_MAX - 1);
	int err = n < 0 ? -errno : 0;
	close(fd);
	value[n < 0 ? 0 : n] = '\0';
	value[strcspn(value, "\n")] = '\0';
	return err;
}

int sysctl_write(const char *key, const char *value)
{
	int fd = sysctl_open(key, O_WRONLY);
	if (fd < 0)
		return fd;
	int err = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

int sysctl_record_new(const char *path, struct sysctl_record **ret)
{
	struct sysctl_record *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	snprintf(r->path, sizeof(r->path), "%s", path);
	*ret = r;
	return 0;
}

int sysctl_record_add(struct sysctl_record *r, const char *key, const char *ours)
{
	struct entry e = { 0 };
	if (r->n == ENTRIES_MAX || strlen(key) >= sizeof(e.key) || strchr(key, ' ') != NULL)
		return -ENOSPC;
	int err = sysctl_read(key, e.before);
	if (err != 0)
		return err == -ENOENT ? 0 : err;
	snprintf(e.key, sizeof(e.key), "%s", key);
	snprintf(e.ours, sizeof(e.ours), "%s", ours);
	r->entries[r->n++] = e;
	return 0;
}

static int record_write(const struct sysctl_record *r)
{
	char tmp[272];
	snprintf(tmp, sizeof(tmp), "%s.new", r->path);
	FILE *f = fopen(tmp, "we");
	if (f == NULL)
		return -errno;
	for (unsigned i = 0; i < r->n; i++)
		fprintf(f, "%s %s %s\n", r->entries[i].key, r->entries[i].before, r->entries[i].ours);
	int err = fflush(f) != 0 || fsync(fileno(f)) != 0 ? -errno : 0;
	if (fclose(f) != 0 && err == 0)
		err = -errno;
	if (err == 0 && rename(tmp, r->path) != 0)
		err = -errno;
	return err;
}

int sysctl_record_apply(struct sysctl_record *r)
{
	int err = record_write(r);
	for (unsigned i = 0; err == 0 && i < r->n; i++) {
		if (strcmp(r->entries[i].before, r->entries[i].ours) != 0)
			err = sysctl_write(r->entries[i].key, r->entries[i].ours);
	}
	free(r);
	return err;
}

/* The value before our change, as a record tells; false when it does not name the key. */
bool sysctl_recorded(const char *path, const char *key, char value[SYSCTL_VALUE_MAX])
{
	FILE *f = fopen(path, "re");
	struct entry e = { 0 };
	bool found = false;
	while (f != NULL && !found && fscanf(f, "%95s %31s %31s", e.key, e.before, e.ours) == 3)
		found = strcmp(e.key, key) == 0;
	if (f != NULL)
		fclose(f);
	if (found)
		snprintf(value, SYSCTL_VALUE_MAX, "%s", e.before);
	return found;
}

/* Looks at all before it writes any: writing conf/all changes the others. */
static void entries_restore(struct sysctl_record *r)
{
	char now[SYSCTL_VALUE_MAX];
	for (unsigned i = 0; i < r->n; i++) {
		struct entry *e = &r->entries[i];
		/* An interface that went away took its values with it. */
		if (sysctl_read(e->key, now) != 0 || strcmp(now, e->ours) != 0)
			e->key[0] = '\0';
	}
	for (unsigned i = r->n; i-- > 0;) {
		const struct entry *e = &r->entries[i];
		if (e->key[0] != '\0' && sysctl_read(e->key, now) == 0 && strcmp(now, e->before) != 0 &&
			sysctl_write(e->key, e->before) != 0)
			continue;
	}
}

void sysctl_restore(const char *path)
{
	FILE *f = fopen(path, "re");
	struct sysctl_record *r = f == NULL ? NULL : calloc(1, sizeof(*r));
	if (f == NULL)
		return;
	while (r != NULL && r->n < ENTRIES_MAX) {
		struct entry *e = &r->entries[r->n];
		if (fscanf(f, "%95s %31s %31s", e->key, e->before, e->ours) != 3)
			break;
		if (strstr(e->key, "..") == NULL)
			r->n++;
	}
	fclose(f);
	if (r != NULL)
		entries_restore(r);
	free(r);
	unlink(path);
}
