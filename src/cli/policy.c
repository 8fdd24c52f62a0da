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

static int check(struct cli *c, const char *const *names, size_t n)
{
	static struct policy_finding found[FINDINGS_MAX];
	struct policy_files f;
	if (!files_read(names, n, c->json, &f))
		return EXIT_PROBLEMS;
	long findings = policy_check(&f.in, found, FINDINGS_MAX);
	for (long i = 0; i < findings && i < FINDINGS_MAX; i++)
		files_say(&f, &found[i], c->json);
	if (findings > FINDINGS_MAX)
		cli_error("and %ld more", findings - FINDINGS_MAX);
	else if (findings < 0)
		cli_error("%s", strerror((int)-findings));
	bool good = findings == 0;
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
		return cli_usage("policy", "check, fmt, diff, apply, show, export or import is needed");
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
	if (strcmp(what, "apply") == 0 && (n == 1 || (n == 2 && strcmp(names[1], "--dry-run") == 0)))
		return policy_apply(c, names[0], n == 2);
	if (strcmp(what, "apply") == 0 && n == 2 && strcmp(names[0], "--dry-run") == 0)
		return policy_apply(c, names[1], true);
	if (strcmp(what, "import") == 0 && n == 1)
		return policy_import(c, names[0]);
	return cli_usage("policy",
		"check takes files, fmt, apply and import one file (- is standard input), diff one or two, show perhaps an application, export nothing; not \"%s\" with %zu words after it",
		what, n);
}
