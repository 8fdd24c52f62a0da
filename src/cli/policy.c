/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy.h"
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
	const char *const shown = strcmp(name, "-") == 0 ? "standard input" : name;
	char *formed;
	size_t len;
	char *text = file_text(name, &len);
	if (text == NULL)
		return EXIT_USAGE;
	struct policy_doc *doc = doc_parse(shown, text, len, c->json);
	int err = doc == NULL ? -1 : policy_format(text, len, doc, &formed);
	if (err == 0) {
		fputs(formed, stdout);
		free(formed);
	}
	policy_doc_free(doc);
	free(text);
	return err == 0 ? EXIT_DONE : doc == NULL ? EXIT_USAGE : EXIT_FAILED;
}

int cmd_policy(struct cli *c, int argc, char **argv)
{
	const char *names[256];
	size_t n = 0;
	if (argc < 2)
		return cli_usage("policy", "check, fmt, diff, show, export or import is needed");
	if ((size_t)argc - 2 > sizeof(names) / sizeof(names[0]))
		return cli_usage("policy", "at most %zu files at once", sizeof(names) / sizeof(names[0]));
	for (int i = 2; i < argc; i++)
		names[n++] = argv[i];
	const char *what = argv[1];
	if (strcmp(what, "check") == 0 && n > 0)
		return check(c, names, n);
	if (strcmp(what, "fmt") == 0 && n == 1)
		return fmt(c, names[0]);
	if (strcmp(what, "diff") == 0 && (n == 1 || n == 2))
		return policy_diff(c, names, n);
	if (strcmp(what, "show") == 0 && n <= 1)
		return policy_show(c, n == 1 ? names[0] : NULL);
	if (strcmp(what, "export") == 0 && n == 0)
		return policy_export(c);
	if (strcmp(what, "import") == 0 && n == 1)
		return policy_import(c, names[0]);
	return cli_usage("policy",
		"check takes files, fmt and import one file (- is standard input), diff one or two, show perhaps an application, export nothing; not \"%s\" with %zu words after it",
		what, n);
}
