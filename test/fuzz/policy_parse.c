/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/policy.h"
#include "policy/print.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What parses prints, what is printed parses to the same text; errors stand inside the text. */
static void check_diags(const struct policy_diag *d, size_t n, size_t len)
{
	for (size_t i = 0; i < n; i++) {
		if (d[i].offset > len || d[i].line == 0 || d[i].col == 0 || d[i].message[0] == '\0')
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct policy_diag diags[4];
	struct policy_doc *doc, *back;
	size_t n = 0;
	char *text, *again;
	if (policy_parse_file((const char *)data, len, &doc, diags, 4, &n) != 0) {
		if (n == 0)
			abort();
		check_diags(diags, n < 4 ? n : 4, len);
		return 0;
	}
	if (policy_print_doc(doc, &text) != 0)
		abort();
	if (policy_parse_file(text, strlen(text), &back, diags, 4, &n) != 0 || back->n_rules != doc->n_rules)
		abort();
	for (size_t i = 0; i < doc->n_rules; i++) {
		if (!policy_rule_equal(&doc->rules[i].rule, &back->rules[i].rule))
			abort();
	}
	if (policy_print_doc(back, &again) != 0 || strcmp(text, again) != 0)
		abort();
	struct policy_input in = { .rules = doc->rules,
		.n_rules = doc->n_rules,
		.groups = doc->groups,
		.n_groups = doc->n_groups,
		.sets = doc->sets,
		.n_sets = doc->n_sets,
		.lists = doc->lists,
		.n_lists = doc->n_lists };
	struct policy *p;
	if (policy_compile(&in, &p, NULL) == 0)
		policy_free(p);
	free(text);
	free(again);
	policy_doc_free(doc);
	policy_doc_free(back);
	return 0;
}
