/* SPDX-License-Identifier: Apache-2.0 */
#include "image/config.h"
#include "image/ids.h"
#include "image/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[1400];

static void sources(void **state)
{
	(void)state;
	static const struct {
		const char *text, *printed;
	} good[] = { { "docker-archive:a.tar", "docker-archive:/here/a.tar" },
		{ "docker-archive:/x/a.tar:lab/test:1", "docker-archive:/x/a.tar:lab/test:1" },
		{ "oci:d:one", "oci:/here/d:one" }, { "oci-archive:/x", "oci-archive:/x" },
		{ "docker://host:5000/a/b@sha256:00", "docker://host:5000/a/b@sha256:00" } };
	static const char *const bad[] = { "", "debian", "oci:", "oci:d:", "docker:debian", "docker://", "docker://a b",
		"docker://a\nb", "containers-storage:x", "dir:x", "oci::x" };
	struct image_source s;
	char text[6000];
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(image_source_parse(good[i].text, "/here", &s, error, sizeof(error)));
		image_source_print(&s, text, sizeof(text));
		assert_string_equal(text, good[i].printed);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(image_source_parse(bad[i], "/here", &s, error, sizeof(error)));
	char longer[PATH_MAX + 10] = "oci:/";
	memset(longer + 5, 'a', sizeof(longer) - 6);
	longer[sizeof(longer) - 1] = 0;
	assert_false(image_source_parse(longer, "/here", &s, error, sizeof(error)));
}

static json_t *read_text(const char *text)
{
	return image_config_read(text, strlen(text), error, sizeof(error));
}

static void configs(void **state)
{
	(void)state;
	json_t *c = read_text(
		"{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\",\"d\"],\"Env\":[\"A=b\",\"P=q=r\"],\"User\":\"www:audio\","
		"\"WorkingDir\":\"/srv\"},\"rootfs\":{}}");
	json_t *given = json_pack("[s, s]", "x", "y"), *env = json_pack("[s, s]", "A=c", "AB=1"), *none = json_array();
	struct {
		json_t *is, *want;
	} cases[] = { { image_config_command(c, none), json_pack("[s, s, s]", "e", "c", "d") },
		{ image_config_command(c, given), json_pack("[s, s, s]", "e", "x", "y") },
		{ image_config_env(c, env), json_pack("[s, s, s]", "A=c", "AB=1", "P=q=r") } };
	for (unsigned i = 0; i < 3; i++) {
		assert_true(json_equal(cases[i].is, cases[i].want));
		json_decref(cases[i].is);
		json_decref(cases[i].want);
	}
	assert_string_equal(json_string_value(json_object_get(c, "user")), "www:audio");
	json_decref(c);
	/* Nothing said: root, at /, nothing to run. */
	c = read_text("{\"config\":{\"Cmd\":null,\"User\":\"\"}}");
	assert_string_equal(json_string_value(json_object_get(c, "user")), "0");
	assert_string_equal(json_string_value(json_object_get(c, "cwd")), "/");
	json_t *nothing = image_config_command(c, none);
	assert_int_equal(json_array_size(nothing), 0);
	json_decref(nothing);
	json_decref(c);
	c = read_text("{}");
	assert_non_null(c);
	json_decref(c);
	json_decref(given);
	json_decref(env);
	json_decref(none);
}

static void hostile_configs(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "[]", "null", "{\"config\":[]}", "{\"config\":{\"Cmd\":\"sh\"}}",
		"{\"config\":{\"Cmd\":[1]}}", "{\"config\":{\"Env\":[\"A\"]}}", "{\"config\":{\"Env\":[\"=A\"]}}",
		"{\"config\":{\"User\":7}}", "{\"config\":{\"WorkingDir\":\"srv\"}}",
		"{\"config\":{\"WorkingDir\":{}}}", "{\"config\":{\"Cmd\":[\"a\\u0000b\"]}}",
		"{\"config\":{},\"config\":{}}",
		"{\"config\":{\"User\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}" };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(read_text(bad[i]));
}

/* One word more than is taken, one byte more, and a file that is too long. */
static void config_limits(void **state)
{
	(void)state;
	char *text = malloc(IMAGE_CONFIG_MAX + 64);
	assert_non_null(text);
	for (unsigned n = IMAGE_WORDS_MAX; n <= IMAGE_WORDS_MAX + 1; n++) {
		char *p = text + sprintf(text, "{\"config\":{\"Cmd\":[");
		for (unsigned i = 0; i < n; i++)
			p += sprintf(p, "%s\"a\"", i == 0 ? "" : ",");
		strcpy(p, "]}}");
		json_t *c = read_text(text);
		assert_int_equal(c != NULL, n == IMAGE_WORDS_MAX);
		json_decref(c);
	}
	for (unsigned n = IMAGE_WORDS_BYTES - 1; n <= IMAGE_WORDS_BYTES; n++) {
		char *p = text + sprintf(text, "{\"config\":{\"Cmd\":[\"");
		memset(p, 'a', n);
		strcpy(p + n, "\"]}}");
		json_t *c = read_text(text);
		assert_int_equal(c != NULL, n == IMAGE_WORDS_BYTES - 1);
		json_decref(c);
	}
	memset(text, ' ', IMAGE_CONFIG_MAX + 1);
	memcpy(text, "{}", 2);
	json_t *c = image_config_read(text, IMAGE_CONFIG_MAX, error, sizeof(error));
	assert_non_null(c);
	json_decref(c);
	assert_null(image_config_read(text, IMAGE_CONFIG_MAX + 1, error, sizeof(error)));
	free(text);
}

static bool range(const char *text, uint32_t *ret)
{
	char copy[512];
	snprintf(copy, sizeof(copy), "%s", text);
	FILE *f = fmemopen(copy, strlen(copy) + 1, "r");
	bool found = ids_range(f, "alice", 1001, ret);
	fclose(f);
	return found;
}

static void subordinate_ids(void **state)
{
	(void)state;
	uint32_t first = 0;
	static const char *const bad[] = { "bob:100000:65536\n", "alice:100000\n", "alice:100000:100\n",
		"alice::65536\n", "alice:x:65536\n", "alice:0:65536\n", "alice:4294967000:65536\n",
		"alice:100000:65536x\n", ":100000:65536\n" };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(range(bad[i], &first));
	assert_true(range("bob:100000:65536\nalice:165536:65536\n", &first));
	assert_int_equal(first, 165536);
	assert_true(range("alice:5:1\n1001:300000:65535", &first));
	assert_int_equal(first, 300000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(sources), cmocka_unit_test(configs),
		cmocka_unit_test(hostile_configs), cmocka_unit_test(config_limits), cmocka_unit_test(subordinate_ids) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
