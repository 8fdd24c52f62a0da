/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/profile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_all_keys(void **unused)
{
	(void)unused;
	static const char text[] =
		"# the shop's browser\nusers = alice, bob  # both\nmemory=1024\ncpus = 2\nfragments = no\n"
		"new_names_per_min = 120\nnames_real = no\ngui = no\nhome = none\nimage = host\nrw = none\n"
		"command = sh -c \"echo \\\"a  b\\\" #1\" '' \\ x \"\"\r\n";
	static const char argv[] = "sh\0-c\0echo \"a  b\" #1\0''\0 x\0";
	struct profile *p;
	struct profile_error e = { 0 };
	if (profile_parse("web.conf", text, strlen(text), &p, &e) != 0)
		fail_msg("%u:%u: %s", e.line, e.col, e.text);
	assert_string_equal(p->app, "web");
	assert_true(profile_names_user(p, "alice") && profile_names_user(p, "bob") && !profile_names_user(p, "ali"));
	assert_int_equal(p->memory_mib, 1024);
	assert_int_equal(p->cpus, 2);
	assert_int_equal(p->new_names_per_min, 120);
	assert_int_equal(p->argc, 6);
	assert_int_equal(p->argv_len, sizeof(argv));
	assert_memory_equal(p->argv, argv, sizeof(argv));
	free(p);
}

static void test_nothing_said(void **unused)
{
	(void)unused;
	struct profile *p;
	struct profile_error e;
	assert_int_equal(profile_parse("a.b.conf", "", 0, &p, &e), 0);
	assert_string_equal(p->app, "a.b");
	assert_true(p->n_users == 0 && p->memory_mib == 0 && p->cpus == 0 && p->argc == 0);
	free(p);
	static const char image[] = "image = docker://host/a:1 # ours\n";
	assert_int_equal(profile_parse("a.conf", image, strlen(image), &p, &e), 0);
	assert_string_equal(p->image, "docker://host/a:1");
	free(p);
	static const char rw[] = "rw = /srv/a b , /srv/c # two\nhome = app\n";
	assert_int_equal(profile_parse("a.conf", rw, strlen(rw), &p, &e), 0);
	assert_int_equal(p->n_rw, 2);
	assert_string_equal(p->rw[0], "/srv/a b");
	assert_string_equal(p->rw[1], "/srv/c");
	assert_string_equal(p->home, "app");
	free(p);
}

static void bad(const char *file, const char *text, unsigned line, unsigned col, const char *words)
{
	struct profile *p = NULL;
	struct profile_error e = { 0 };
	int err = profile_parse(file, text, strlen(text), &p, &e);
	if ((err != -EINVAL && err != -E2BIG) || p != NULL || e.line != line || e.col != col ||
		strstr(e.text, words) == NULL)
		fail_msg("%.60s: %d: %u:%u: %s", text, err, e.line, e.col, e.text);
}

static void test_errors(void **unused)
{
	(void)unused;
	static const struct {
		const char *text;
		unsigned line, col;
		const char *words;
	} wrong[] = {
		{ "\n memori = 5", 2, 2, "did you mean \"memory\"?" },
		{ "xyz = 5", 1, 1, "unknown key \"xyz\"" },
		{ "memory", 1, 1, "expected \"key = value\"" },
		{ "memory = lots", 1, 10, "a number from 64 to 262144" },
		{ "memory = 63", 1, 10, "a number from 64" },
		{ "cpus = 65", 1, 8, "from 1 to 64" },
		{ "new_names_per_min = 0", 1, 21, "from 1 to 65535" },
		{ "cpus = 1\ncpus = 2", 2, 1, "already set in line 1" },
		{ "fragments = yes", 1, 13, "fragments is not there yet" },
		{ "users =", 1, 8, "expected names of users" },
		{ "users = alice @office", 1, 15, "expected the name of a user" },
		{ "command =  # none", 1, 12, "expected a command" },
		{ "command = sh \"x", 1, 14, "no end" },
		{ "gui = yes", 1, 7, "gui is not there yet" },
		{ "names_real = yes", 1, 14, "names_real is not there yet" },
		{ "image = debian", 1, 9, "expected host, docker://" },
		{ "home = ~/x", 1, 8, "a directory's absolute path" },
		{ "rw = ", 1, 5, "a directory's absolute path" },
		{ "rw = /srv/a, b", 1, 14, "a directory's absolute path" },
		{ "rw = /a,/b,/c,/d,/e,/f,/g", 1, 24, "at most 6 directories" },
		{ "users = a\x1b", 1, 10, "control character" },
	};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		bad("web.conf", wrong[i].text, wrong[i].line, wrong[i].col, wrong[i].words);
	static const char *const files[] = { "Web.conf", ".conf", "any.conf", "web.rules", "web" };
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		bad(files[i], "", 1, 1, "APP.conf");
}

static void test_limits(void **unused)
{
	(void)unused;
	char *text = calloc(1, PROFILE_FILE_MAX + 2);
	assert_non_null(text);
	memset(text, '#', PROFILE_FILE_MAX + 1);
	bad("web.conf", text, 1, 1, "at most 65536 bytes");
	size_t at = (size_t)sprintf(text, "users =");
	for (unsigned i = 0; i < PROFILE_USERS_MAX + 1; i++)
		at += (size_t)sprintf(text + at, " u%02u", i);
	bad("web.conf", text, 1, 9 + 4 * PROFILE_USERS_MAX, "at most 64 users");
	memset(text, 'x', PROFILE_IMAGE_MAX + 20);
	memcpy(text, "image = docker://", 17);
	text[PROFILE_IMAGE_MAX + 9] = '\0';
	bad("web.conf", text, 1, 9, "expected host");
	memset(text, 'x', PROFILE_COMMAND_MAX + 20);
	memcpy(text, "command = ", 10);
	text[PROFILE_COMMAND_MAX + 20] = '\0';
	bad("web.conf", text, 1, 11 + PROFILE_COMMAND_MAX, "at most 4096 bytes");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_keys), cmocka_unit_test(test_nothing_said),
		cmocka_unit_test(test_errors), cmocka_unit_test(test_limits) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
