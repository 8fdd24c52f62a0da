/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/profile.h"

#include "policy/lex.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_MIN = 64, MEMORY_MAX = 262144, CPUS_MAX = 64 };
enum key {
	KEY_COMMAND,
	KEY_CPUS,
	KEY_FRAGMENTS,
	KEY_GUI,
	KEY_HOME,
	KEY_IMAGE,
	KEY_MEMORY,
	KEY_NAMES_REAL,
	KEY_NEW_NAMES,
	KEY_RW,
	KEY_USERS,
	N_KEYS
};
static const char *const keys[] = { "command", "cpus", "fragments", "gui", "home", "image", "memory", "names_real",
	"new_names_per_min", "rw", "users", NULL };

struct reader {
	const char *text;
	size_t len, start; /* of the line */
	unsigned line;
	unsigned seen[N_KEYS];
	struct profile *p;
	struct profile_error *e;
};

static int fail(struct reader *r, struct span at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct reader *r, struct span at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(r->e->text, sizeof(r->e->text), fmt, ap);
	va_end(ap);
	r->e->line = r->line;
	r->e->col = 1 + (unsigned)(at.off - r->start);
	return -EINVAL;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span s)
{
	while (s.len > 0 && blank(s.p[0]))
		s = span_from(s, 1);
	while (s.len > 0 && blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

/* As in sekishod.conf: a comment behind a value needs a blank before it. */
static struct span uncomment(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '#' && (i == 0 || blank(s.p[i - 1])))
			return trim(span_to(s, i));
	}
	return s;
}

static int number(struct reader *r, struct span v, uint32_t min, uint32_t max, uint32_t *ret)
{
	uint64_t n;
	char show[64];
	if (!span_number(v, max, &n) || n < min)
		return fail(r, v, "expected a number from %u to %u, found \"%s\"", min, max, lex_show(v, show));
	*ret = (uint32_t)n;
	return 0;
}

/* What is decided and not built: only the value that means "without it" is taken. */
static int only(struct reader *r, struct span v, const char *key, const char *value)
{
	if (span_is(v, value))
		return 0;
	return fail(r, v, "%s is not there yet; leave it away or say \"%s\"", key, value);
}

static int user(struct reader *r, struct span v)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_",
			  more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789.-$";
	char show[64];
	bool ok = v.len <= PROFILE_USER_LEN && v.p[0] != '\0' && strchr(first, v.p[0]) != NULL;
	for (size_t i = 0; ok && i < v.len; i++)
		ok = v.p[i] != '\0' && strchr(more, v.p[i]) != NULL;
	if (!ok)
		return fail(r, v, "expected the name of a user, found \"%s\"", lex_show(v, show));
	if (r->p->n_users == PROFILE_USERS_MAX)
		return fail(r, v, "at most %d users", PROFILE_USERS_MAX);
	memcpy(r->p->users[r->p->n_users], v.p, v.len);
	r->p->users[r->p->n_users++][v.len] = '\0';
	return 0;
}

static int users(struct reader *r, struct span v)
{
	int err = v.len == 0 ? fail(r, v, "expected names of users, found nothing") : 0;
	while (err == 0 && v.len > 0) {
		size_t n = 0;
		while (n < v.len && v.p[n] != ',' && !blank(v.p[n]))
			n++;
		if (n > 0)
			err = user(r, span_to(v, n));
		v = span_from(v, n < v.len ? n + 1 : n);
	}
	return err;
}

static int put(struct reader *r, struct span at, char c)
{
	if (r->p->argv_len == sizeof(r->p->argv))
		return fail(r, at, "a command has at most %d bytes", PROFILE_COMMAND_MAX);
	r->p->argv[r->p->argv_len++] = c;
	return 0;
}

/* One word: blanks end it outside "quotes", a backslash takes the next byte as it is. */
static int word(struct reader *r, struct span *v)
{
	bool quoted = false;
	int err = 0;
	struct span begin = *v;
	while (err == 0 && v->len > 0 && (quoted || !blank(v->p[0]))) {
		bool escape = v->p[0] == '\\' && v->len > 1;
		if (v->p[0] == '"')
			quoted = !quoted;
		else
			err = put(r, *v, v->p[escape ? 1 : 0]);
		*v = span_from(*v, escape ? 2 : 1);
	}
	if (err == 0 && quoted)
		return fail(r, begin, "this word has no end: expected \" before the end of the line");
	return err != 0 ? err : put(r, begin, '\0');
}

static int command(struct reader *r, struct span v)
{
	bool none = v.len == 0 || v.p[0] == '#';
	int err = none ? fail(r, v, "expected a command, found nothing") : 0;
	for (; err == 0 && v.len > 0 && v.p[0] != '#'; v = trim(v)) {
		err = word(r, &v);
		r->p->argc++;
	}
	return err;
}

/* Whoever starts it opens the image, with his own rights, maybe from another directory. */
static int image(struct reader *r, struct span v)
{
	static const char *const begins[] = { "docker://", "docker-archive:/", "oci-archive:/", "oci:/" };
	char show[64];
	if (span_is(v, "host"))
		return 0;
	bool ok = v.len <= PROFILE_IMAGE_MAX;
	bool begun = false;
	for (unsigned i = 0; ok && i < sizeof(begins) / sizeof(begins[0]); i++)
		begun = begun || (v.len > strlen(begins[i]) && memcmp(v.p, begins[i], strlen(begins[i])) == 0);
	if (!begun)
		return fail(r, v, "expected host, docker://HOST/NAME, docker-archive:/FILE or oci:/DIR, found \"%s\"",
			lex_show(v, show));
	memcpy(r->p->image, v.p, v.len);
	r->p->image[v.len] = '\0';
	return 0;
}

static int directory(struct reader *r, struct span v, char ret[PROFILE_DIR_MAX + 1])
{
	char show[64];
	if (v.len == 0 || v.len > PROFILE_DIR_MAX || v.p[0] != '/')
		return fail(r, v, "expected a directory's absolute path, found \"%s\"", lex_show(v, show));
	memcpy(ret, v.p, v.len);
	ret[v.len] = '\0';
	return 0;
}

/* Between commas; blanks are part of a name. */
static int directories(struct reader *r, struct span v)
{
	int err = 0;
	if (span_is(v, "none"))
		return 0;
	for (bool more = true; err == 0 && more;) {
		size_t n = 0;
		while (n < v.len && v.p[n] != ',')
			n++;
		more = n < v.len;
		if (r->p->n_rw == PROFILE_RW_MAX)
			return fail(r, v, "at most %d directories", PROFILE_RW_MAX);
		err = directory(r, trim(span_to(v, n)), r->p->rw[r->p->n_rw]);
		r->p->n_rw += err == 0;
		v = span_from(v, more ? n + 1 : n);
	}
	return err;
}

static int home(struct reader *r, struct span v)
{
	if (span_is(v, "none"))
		return 0;
	if (!span_is(v, "app"))
		return directory(r, v, r->p->home);
	memcpy(r->p->home, "app", sizeof("app"));
	return 0;
}

static int set_key(struct reader *r, enum key k, struct span v)
{
	uint32_t n = 0;
	int err;
	switch (k) {
	case KEY_COMMAND:
		return command(r, v);
	case KEY_CPUS:
		return number(r, v, 1, CPUS_MAX, &r->p->cpus);
	case KEY_FRAGMENTS:
	case KEY_GUI:
	case KEY_NAMES_REAL:
		return only(r, v, keys[k], "no");
	case KEY_HOME:
		return home(r, v);
	case KEY_RW:
		return directories(r, v);
	case KEY_IMAGE:
		return image(r, v);
	case KEY_MEMORY:
		return number(r, v, MEMORY_MIN, MEMORY_MAX, &r->p->memory_mib);
	case KEY_NEW_NAMES:
		err = number(r, v, 1, UINT16_MAX, &n);
		r->p->new_names_per_min = (uint16_t)n;
		return err;
	case KEY_USERS:
		return users(r, v);
	case N_KEYS:
		break;
	}
	return -EINVAL;
}

static int line(struct reader *r, struct span s)
{
	char show[64];
	s = trim(s);
	if (s.len == 0 || s.p[0] == '#')
		return 0;
	for (size_t i = 0; i < s.len; i++) {
		if ((uint8_t)s.p[i] < ' ' && s.p[i] != '\t')
			return fail(r, span_from(s, i), "a control character is no part of a profile");
	}
	size_t eq = span_find(s, '=');
	struct span name = trim(span_to(s, eq));
	if (eq == s.len)
		return fail(r, s, "expected \"key = value\", found \"%s\"", lex_show(s, show));
	struct span value = trim(span_from(s, eq + 1));
	for (unsigned k = 0; k < N_KEYS; k++) {
		if (!span_is(name, keys[k]))
			continue;
		if (r->seen[k] != 0)
			return fail(r, name, "%s was already set in line %u", keys[k], r->seen[k]);
		r->seen[k] = r->line;
		/* A command has a '#' where it stands in quotes. */
		return set_key(r, (enum key)k, k == KEY_COMMAND ? value : uncomment(value));
	}
	const char *near = lex_near(name, keys);
	if (near != NULL)
		return fail(r, name, "unknown key \"%s\": did you mean \"%s\"?", lex_show(name, show), near);
	return fail(r, name, "unknown key \"%s\" (sekishod.conf(5) lists the keys)", lex_show(name, show));
}

static int lines(struct reader *r)
{
	int err = 0;
	for (r->line = 1; err == 0 && r->start < r->len; r->line++) {
		const char *nl = memchr(r->text + r->start, '\n', r->len - r->start);
		size_t n = nl == NULL ? r->len - r->start : (size_t)(nl - r->text) - r->start;
		err = line(r, (struct span){ .p = r->text + r->start, .len = n, .off = r->start });
		if (err == 0)
			r->start += n + 1;
	}
	return err;
}

int profile_parse(const char *file, const char *text, size_t len, struct profile **ret, struct profile_error *reterr)
{
	struct profile *p = calloc(1, sizeof(*p));
	struct reader r = { .text = text, .len = len, .line = 1, .p = p, .e = reterr };
	size_t name = strlen(file);
	if (p == NULL)
		return -ENOMEM;
	bool named = name > 5 && strcmp(file + name - 5, ".conf") == 0 && policy_token_ok(file, name - 5);
	int err =
		named ? 0
		      : fail(&r, (struct span){ .p = file },
				"expected a file name of the form APP.conf, where APP can be the name of an application");
	if (err == 0 && len > PROFILE_FILE_MAX) {
		(void)fail(&r, (struct span){ .p = text }, "a profile has at most %d bytes", PROFILE_FILE_MAX);
		err = -E2BIG;
	}
	if (err == 0) {
		memcpy(p->app, file, name - 5);
		err = lines(&r);
	}
	if (err == 0)
		*ret = p;
	else
		free(p);
	return err;
}

bool profile_names_user(const struct profile *p, const char *user_name)
{
	for (unsigned i = 0; i < p->n_users; i++) {
		if (strcmp(p->users[i], user_name) == 0)
			return true;
	}
	return false;
}
