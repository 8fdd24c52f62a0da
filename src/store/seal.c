/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seal: a digest of the rules that run, in a file beside the database. The integrity check finds broken pages; this
 * finds a database that is whole but not the one we left (an old copy, a lost one, rows gone).
 *
 * Digests of rows are joined by exclusive or, so that a change costs one row whatever the number of rules. The file
 * holds two sums, before and after the commit that follows it: whichever side of the commit a kill falls on, one fits.
 * It is written in place, within one sector, so it needs no room on a full disk and no second name.
 *
 * A seal that is gone tells nothing about the rules beside it, so that is damage, too. What a person decides he says
 * with a file of its own, which counts once.
 */
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEAL_TEXT = 160 };
static const char seal_magic[] = "sekisho seal 1\n";

void seal_toggle(struct store *s, const struct store_rule *r)
{
	uint8_t sum[STORE_SUM];
	char *text = NULL;
	int n = asprintf(&text, "%lld %s %u %u %lld %s", (long long)r->seq, r->id, r->origin, r->owner,
		(long long)r->deadline_ms, r->line);
	if (n < 0) {
		s->sum_lost = true;
		return;
	}
	SHA256((const unsigned char *)text, (size_t)n, sum);
	free(text);
	for (unsigned i = 0; i < STORE_SUM; i++)
		s->sum[i] ^= sum[i];
}

/* The row as it stands, if it runs. */
int seal_toggle_row(struct store *s, int64_t seq)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q, "SELECT seq, id, line, origin, owner, deadline FROM rule WHERE seq = ?1 AND end = 0",
		"i", seq);
	if (err == 0) {
		err = seal_toggle_all(s, q);
		store_rows_end(q);
	}
	return err;
}

int seal_toggle_all(struct store *s, struct store_rows *q)
{
	int err;
	while ((err = db_step(q)) == 1) {
		struct store_rule r = { .seq = sqlite3_column_int64(q->q, 0),
			.id = db_text(q, 1),
			.line = db_text(q, 2),
			.origin = db_u32(q, 3),
			.owner = db_u32(q, 4),
			.deadline_ms = sqlite3_column_int64(q->q, 5) };
		seal_toggle(s, &r);
	}
	return err;
}

/* From the rows, and from the number that tells this database from any other. */
static int seal_sum(struct store *s)
{
	struct store_rows *q = NULL;
	memset(s->sum, 0, sizeof(s->sum));
	int err =
		db_rows(s, &q, "SELECT 0, next, '', 0, 0, 0 FROM counter WHERE id = ?1", "u", (uint32_t)STORE_DATABASE);
	if (err == 0) {
		err = seal_toggle_all(s, q);
		store_rows_end(q);
	}
	if (err == 0)
		err = db_rows(s, &q, "SELECT seq, id, line, origin, owner, deadline FROM rule WHERE end = 0", "");
	if (err == 0) {
		err = seal_toggle_all(s, q);
		store_rows_end(q);
	}
	if (err == 0 && s->sum_lost)
		err = -ENOMEM;
	return err;
}

static size_t put_sum(char *to, const uint8_t sum[STORE_SUM])
{
	for (unsigned i = 0; i < STORE_SUM; i++)
		snprintf(to + 2 * i, 3, "%02x", sum[i]);
	to[2 * STORE_SUM] = '\n';
	return 2 * STORE_SUM + 1;
}

int seal_write(struct store *s, const uint8_t before[STORE_SUM], bool durable)
{
	char text[SEAL_TEXT] = "";
	if (s->seal_fd < 0)
		return 0;
	if (s->sum_lost)
		return -ENOMEM;
	size_t len = strlen(seal_magic);
	memcpy(text, seal_magic, len);
	len += put_sum(text + len, before);
	len += put_sum(text + len, s->sum);
	ssize_t n = pwrite(s->seal_fd, text, len, 0);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	return !durable || fdatasync(s->seal_fd) == 0 ? 0 : -errno;
}

static int seal_fits(struct store *s)
{
	char text[SEAL_TEXT] = "", sum[2 * STORE_SUM + 2] = "";
	ssize_t n = pread(s->seal_fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return -errno;
	size_t len = put_sum(sum, s->sum), magic = strlen(seal_magic);
	if ((size_t)n != magic + 2 * len || memcmp(text, seal_magic, magic) != 0)
		return -EUCLEAN;
	bool fits = memcmp(text + magic, sum, len) == 0 || memcmp(text + magic + len, sum, len) == 0;
	return fits ? 0 : -EUCLEAN;
}

/* There is never an empty seal of a database that is whole. */
static int seal_make(struct store *s, const char *name)
{
	char made[STORE_PATH_MAX + 8];
	snprintf(made, sizeof(made), "%s.new", name);
	s->seal_fd = open(made, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->seal_fd < 0)
		return -errno;
	int err = seal_write(s, s->sum, true);
	if (err == 0 && rename(made, name) != 0)
		err = -errno;
	if (err != 0)
		unlink(made);
	return err;
}

int seal_open(struct store *s, const char *path, bool accepted)
{
	char name[STORE_PATH_MAX];
	if (snprintf(name, sizeof(name), "%s.seal", path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	int err = seal_sum(s);
	if (err != 0)
		return err;
	s->seal_fd = accepted ? -1 : open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (s->seal_fd >= 0)
		err = seal_fits(s);
	else if (!accepted && errno != ENOENT)
		err = -errno;
	else
		err = seal_make(s, name);
	memcpy(s->sealed, s->sum, sizeof(s->sealed));
	/* One sum from here on: what a kill left open is settled. */
	return err == 0 ? seal_write(s, s->sum, true) : err;
}

static bool beside(const char *path, const char *end)
{
	char name[STORE_PATH_MAX];
	return snprintf(name, sizeof(name), "%s%s", path, end) < (int)sizeof(name) && access(name, F_OK) == 0;
}

bool seal_exists(const char *path)
{
	return beside(path, ".seal");
}

bool seal_accepted(const char *path)
{
	return beside(path, ".accept");
}

void seal_accept_end(const char *path)
{
	char name[STORE_PATH_MAX];
	if (snprintf(name, sizeof(name), "%s.accept", path) < (int)sizeof(name))
		unlink(name);
}

/* With its journal of changes, which belongs to it. */
int seal_set_aside(const char *path, char ret_name[STORE_PATH_MAX])
{
	static const char *const ends[] = { "", "-wal" };
	for (unsigned n = 1; n < 1000; n++) {
		if (snprintf(ret_name, STORE_PATH_MAX, "%s.damaged-%u", path, n) >= STORE_PATH_MAX)
			return -ENAMETOOLONG;
		if (access(ret_name, F_OK) == 0)
			continue;
		for (unsigned i = 0; i < 2; i++) {
			char from[STORE_PATH_MAX + 8], to[STORE_PATH_MAX + 8];
			snprintf(from, sizeof(from), "%s%s", path, ends[i]);
			snprintf(to, sizeof(to), "%s%s", ret_name, ends[i]);
			if (rename(from, to) != 0 && (i == 0 || errno != ENOENT))
				return -errno;
		}
		return 0;
	}
	return -EEXIST;
}
