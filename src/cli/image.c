/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image.h"

#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "image/cache.h"
#include "image/config.h"
#include "policy/parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ID_SHOWN = 12, SPACE_MIB_MAX = 1 << 24 };

/* What tools and files of other people said is among it. */
static int say(int err, const char *error)
{
	char shown[2 * IMAGE_ERROR_MAX];
	cli_error("%s", text_escape(error, strlen(error), shown, sizeof(shown)));
	return err == -EINVAL ? EXIT_USAGE : err == -ENOENT ? EXIT_NOTHING : EXIT_FAILED;
}

/* As little as a reader wants to know while he waits. */
static int prepare(const char *source, const struct image_limits *limits, struct image *ret, char *error)
{
	char shown[1200];
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "sekisho: preparing %s …\n", text_escape(source, strlen(source), shown, sizeof(shown)));
	return image_prepare(source, limits, IMAGE_CACHE_MAX, ret, error);
}

static void drop(struct api_fds *fds)
{
	for (unsigned i = 0; i < fds->n; i++)
		close(fds->fd[i]);
	fds->n = 0;
}

static int open_all(const struct image *i, const char *app, bool ephemeral, struct api_fds *fds, char *error)
{
	fds->n = 0;
	int err = image_open(i, &fds->fd[0], error);
	if (err != 0)
		return err;
	fds->n = 1;
	if (!ephemeral)
		err = layer_open(app, i->id, &fds->fd[1], error);
	fds->n += !ephemeral && err == 0;
	if (err != 0)
		drop(fds);
	return err;
}

bool cli_image_use(const char *image, const char *app, bool ephemeral, json_t *params, struct api_fds *ret_fds)
{
	const struct image_limits limits = { 0 };
	char error[IMAGE_ERROR_MAX] = "";
	struct image i = { 0 };
	/* It becomes a directory's name. */
	if (!policy_token_ok(app, strlen(app))) {
		cli_error("\"%.63s\" cannot be the name of an application", app);
		return false;
	}
	int err = image_find(image, &i, error);
	if (err == 0)
		err = prepare(image, &limits, &i, error);
	err = err < 0 ? err : open_all(&i, app, ephemeral, ret_fds, error);
	json_t *argv = err != 0 ? NULL : image_config_command(i.config, json_object_get(params, "argv"));
	if (err == 0 && json_array_size(argv) == 0) {
		snprintf(error, sizeof(error), "the image names no command: sekisho run --image %.500s %s -- CMD",
			image, app);
		drop(ret_fds);
		err = -EINVAL;
	}
	if (err != 0) {
		json_decref(argv);
		image_fini(&i);
		say(err, error);
		return false;
	}
	json_object_set_new(params, "argv", argv);
	json_object_set_new(params, "env", image_config_env(i.config, json_object_get(params, "env")));
	json_object_set(params, "cwd", json_object_get(i.config, "cwd"));
	if (!json_is_string(json_object_get(params, "user")))
		json_object_set(params, "user", json_object_get(i.config, "user"));
	json_object_set_new(params, "root", json_string("image"));
	json_object_set_new(params, "layer", json_boolean(!ephemeral));
	image_fini(&i);
	return true;
}

bool cli_layer_use(const char *app, json_t *params, struct api_fds *ret_fds)
{
	char error[IMAGE_ERROR_MAX];
	if (!policy_token_ok(app, strlen(app))) {
		cli_error("\"%.63s\" cannot be the name of an application", app);
		return false;
	}
	int err = layer_open(app, "host", &ret_fds->fd[0], error);
	if (err != 0) {
		say(err, error);
		return false;
	}
	ret_fds->n = 1;
	json_object_set_new(params, "layer", json_true());
	return true;
}

/* --- commands */

static json_t *image_json(const struct image *i)
{
	char used[32], made[32];
	clock_format(i->used_ms, used);
	clock_format(i->made_ms, made);
	return json_pack("{s:s, s:I, s:s, s:s, s:O, s:O}", "image", i->id, "bytes", (json_int_t)i->size, "prepared",
		made, "used", used, "sources", i->sources, "config", i->config);
}

static void print_row(struct table *t, const struct image *i)
{
	char id[ID_SHOWN + 1], size[32], used[64], source[1200] = "-";
	json_t *o = image_json(i);
	snprintf(id, sizeof(id), "%.*s", ID_SHOWN, i->id);
	snprintf(size, sizeof(size), "%.1f", (double)i->size / (1 << 20));
	const char *first = json_string_value(json_array_get(i->sources, 0));
	if (first != NULL)
		text_escape(first, strlen(first), source, sizeof(source));
	table_cell(t, id);
	table_cell(t, size);
	table_cell(t, cli_time(o, "used", used, sizeof(used)));
	table_cell(t, source);
	json_decref(o);
}

static int image_ls(struct cli *c)
{
	static const char *const columns[] = { "IMAGE", "MIB", "USED", "SOURCE", NULL };
	char error[IMAGE_ERROR_MAX];
	struct image *list;
	size_t n;
	int err = image_list(&list, &n, error);
	struct table *t = c->json || err != 0 ? NULL : table_new(columns);
	if (err != 0)
		return say(err, error);
	for (size_t i = 0; i < n; i++) {
		json_t *o = c->json ? image_json(&list[i]) : NULL;
		if (c->json)
			cli_print_json(o);
		else if (t != NULL)
			print_row(t, &list[i]);
		json_decref(o);
		image_fini(&list[i]);
	}
	if (t != NULL)
		table_print(t);
	free(list);
	return EXIT_DONE;
}

static int prepare_all(struct cli *c, int argc, char **argv)
{
	struct image_limits limits = { 0 };
	char error[IMAGE_ERROR_MAX];
	long mib;
	int i = 0, err = 0;
	if (argc >= 2 && strcmp(argv[0], "--space") == 0) {
		if (!cli_integer(argv[1], 1, SPACE_MIB_MAX, &mib))
			return cli_usage("image", "--space takes a number of MiB, such as 4096");
		limits.space = (uint64_t)mib << 20;
		i = 2;
	}
	if (i == argc)
		return cli_usage("image", "an image is needed, such as docker://docker.io/library/debian:12");
	for (; err == 0 && i < argc; i++) {
		struct image done;
		err = prepare(argv[i], &limits, &done, error);
		if (err != 0)
			break;
		json_t *o = image_json(&done);
		if (c->json)
			cli_print_json(o);
		else
			printf("%.*s\n", ID_SHOWN, done.id);
		json_decref(o);
		image_fini(&done);
	}
	return err == 0 ? EXIT_DONE : say(err, error);
}

static int remove_all(int argc, char **argv)
{
	char error[IMAGE_ERROR_MAX];
	int err = 0;
	if (argc == 0)
		return cli_usage("image",
			"an image is needed: its number or its source, as sekisho image ls shows them");
	for (int i = 0; err == 0 && i < argc; i++) {
		struct image one = { 0 };
		err = image_find(argv[i], &one, error);
		if (err == 0) {
			snprintf(error, sizeof(error), "there is no prepared image \"%.1000s\"", argv[i]);
			err = -ENOENT;
		} else if (err > 0) {
			err = image_remove(one.id, error);
		}
		image_fini(&one);
	}
	return err == 0 ? EXIT_DONE : say(err, error);
}

static int prune(int argc, char **argv)
{
	char error[IMAGE_ERROR_MAX];
	long gib = 0;
	unsigned n;
	if (argc != 0 && (argc != 2 || strcmp(argv[0], "--keep") != 0 || !cli_integer(argv[1], 0, SPACE_MIB_MAX, &gib)))
		return cli_usage("image", "prune takes --keep and a number of GiB");
	int err = image_prune((uint64_t)gib << 30, NULL, &n, error);
	if (err == 0)
		fprintf(stderr, "sekisho: %u image%s removed\n", n, n == 1 ? "" : "s");
	return err == 0 ? EXIT_DONE : say(err, error);
}

static int reset(int argc, char **argv)
{
	char error[IMAGE_ERROR_MAX];
	unsigned n;
	if (argc != 1 || !policy_token_ok(argv[0], strlen(argv[0])))
		return cli_usage("image", "the name of one application is needed");
	int err = layer_remove(argv[0], &n, error);
	if (err == 0 && n == 0) {
		snprintf(error, sizeof(error), "%s has written nothing over an image", argv[0]);
		err = -ENOENT;
	}
	return err == 0 ? EXIT_DONE : say(err, error);
}

int cmd_image(struct cli *c, int argc, char **argv)
{
	if (argc == 1 || (argc == 2 && strcmp(argv[1], "ls") == 0))
		return image_ls(c);
	if (strcmp(argv[1], "prepare") == 0)
		return prepare_all(c, argc - 2, argv + 2);
	if (strcmp(argv[1], "rm") == 0)
		return remove_all(argc - 2, argv + 2);
	if (strcmp(argv[1], "prune") == 0)
		return prune(argc - 2, argv + 2);
	if (strcmp(argv[1], "reset") == 0)
		return reset(argc - 2, argv + 2);
	return cli_usage("image", "there is no command \"%.100s\"", argv[1]);
}
