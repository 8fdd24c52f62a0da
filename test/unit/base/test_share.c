/* SPDX-License-Identifier: Apache-2.0 */
#include "base/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void names(void **state)
{
	(void)state;
	static const struct {
		const char *path, *home, *words;
		bool kept;
	} cases[] = {
		{ "/srv/work", "/home/a", NULL, false },
		{ "/home/a/work/.cache", "/home/a", NULL, false },
		{ "/home/ab", "/home/a", NULL, false },
		{ "/home/a/.local/state/sekisho/homes/web", "/home/a", NULL, true },
		{ "/home/a/.local/state/sekisho/homes/web", "/home/a", "hidden", false },
		{ "/home/a/.local/.ssh", "/home/a", "keys", true },
		{ "/srv/work", "/", NULL, false },
		{ "/srv/..a", "", NULL, false },
		{ "/usrlocal", "", NULL, false },
		{ "/", "", "whole", false },
		{ "/usr", "", "system", false },
		{ "/usr/local/x", "", "system", false },
		{ "/var/lib/sekisho/store", "", "system", false },
		{ "/var/lib", "", "below it", false },
		{ "/home", "/home/a", "below it", false },
		{ "/home/a", "/home/a", "home directory", false },
		{ "/data", "/data/home/a", "home directory", false },
		{ "/home/a/.ssh", "", "keys", false },
		{ "/srv/work/.git/hooks", "", "keys", false },
		{ "", "", "absolute", false },
		{ "srv", "", "absolute", false },
		{ "/srv/", "", "absolute", false },
		{ "/srv//a", "", "absolute", false },
		{ "/srv/./a", "", "absolute", false },
		{ "/srv/a/..", "", "absolute", false },
		{ "/srv/a\nb", "", "absolute", false },
		{ "/srv/a\x7f", "", "absolute", false },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *why = share_refused(cases[i].path, cases[i].home, cases[i].kept);
		if ((why == NULL) != (cases[i].words == NULL) || (why != NULL && strstr(why, cases[i].words) == NULL))
			fail_msg("%s: %s", cases[i].path, why == NULL ? "may be lent" : why);
	}
}

static void length(void **state)
{
	(void)state;
	char path[SHARE_PATH_MAX + 2];
	memset(path, 'a', sizeof(path));
	memcpy(path, "/srv/", 5);
	path[SHARE_PATH_MAX] = '\0';
	assert_null(share_refused(path, "", false));
	path[SHARE_PATH_MAX] = 'a';
	path[SHARE_PATH_MAX + 1] = '\0';
	assert_non_null(share_refused(path, "", false));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(length) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
