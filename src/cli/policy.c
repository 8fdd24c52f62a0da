/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/file.h"

#include "policy/check.h"
#include "policy/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FINDINGS_MAX = 256 };

static void say_finding(const struct policy_files *f, const struct policy_finding *k, bool json)
{
	const struct policy_meta *m = k->rule == SIZE_MAX ? NULL : &f->rules[k->rule].meta;
	const char *severity = k->error ? "error" : "warning",
		   *file = m == NULL || m->file == NULL ? "policy" : m->file;
	int line = m == NULL ? 1 : (int)m->line;
	if (json) {
		json_t *o = json_pack("{s:s, s:i, s:i, s:s, s:s}", "file", file, "line", line, "column", 1, "severity",
			severity, "message", k->message);
		cli_print_json(o);
		json_decref(o);
	} else {
		fprintf(stderr, "%s:%d:1: %s: %s\n", file, line, severity, k->message);
	}
}

static int check(struct cli *c, const char *const *names, size_t n)
{
	static struct policy_finding found[FINDINGS_MAX];
	struct policy_files f;
	struct policy *p;
	struct policy_error error = { .rule = SIZE_MAX };
	if (!files_read(names, n, c->json, &f))
		return EXIT_PROBLEMS;
	long findings = policy_check(&f.in, found, FINDINGS_MAX);
	for (long i = 0; i < findings && i < FINDINGS_MAX; i++)
		say_finding(&f, &found[i], c->json);
	if (findings == 0 && policy_compile(&f.in, &p, &error) == 0)
		policy_free(p);
	else if (findings == 0)
		cli_error("%s", error.message);
	bool good = findings == 0 && error.rule == SIZE_MAX;
	if (good && !c->json)
		fprintf(stderr, "%zu rule%s, no problems\n", f.in.n_rules, f.in.n_rules == 1 ? "" : "s");
	files_free(&f);
	return good ? EXIT_DONE : EXIT_PROBLEMS;
}

static int fmt(struct cli *c, const char *name)
{
	struct policy_files f;
	char *text;
	if (!files_read(&name, 1, c->json, &f))
		return EXIT_USAGE;
	int err = policy_print_doc(f.docs[0], &text);
	if (err == 0)
		fputs(text, stdout);
	free(err == 0 ? text : NULL);
	files_free(&f);
	return err == 0 ? EXIT_DONE : EXIT_FAILED;
}

int cmd_policy(struct cli *c, int argc, char **argv)
{
	const char *names[256];
	size_t n = 0;
	if (argc < 3)
		return cli_usage("policy", "check or fmt, and at least one file, are needed (- is standard input)");
	if ((size_t)argc - 2 > sizeof(names) / sizeof(names[0]))
		return cli_usage("policy", "at most %zu files at once", sizeof(names) / sizeof(names[0]));
	for (int i = 2; i < argc; i++)
		names[n++] = argv[i];
	if (strcmp(argv[1], "check") == 0)
		return check(c, names, n);
	if (strcmp(argv[1], "fmt") == 0 && n == 1)
		return fmt(c, names[0]);
	return cli_usage("policy",
		strcmp(argv[1], "fmt") == 0 ? "fmt takes one file" : "\"%s\" is neither check nor fmt", argv[1]);
}
