/* SPDX-License-Identifier: Apache-2.0 */
#include "api/answer.h"

#include <errno.h>

int api_answer_parse(const char *line, size_t len, struct api_answer *ret)
{
	json_t *o;
	int err = api_parse(line, len, &o);
	if (err != 0)
		return err;
	const json_t *later = json_object_get(o, "later"), *rule = json_object_get(o, "rule");
	struct api_answer a = { .id = json_string_value(json_object_get(o, "id")),
		.digest = json_string_value(json_object_get(o, "digest")),
		.rule = json_string_value(rule),
		.object = o };
	bool typed = (rule == NULL || json_is_string(rule)) && (later == NULL || json_is_boolean(later));
	if (!typed || a.id == NULL || a.digest == NULL || (a.rule != NULL) == json_is_true(later)) {
		json_decref(o);
		return -EBADMSG;
	}
	*ret = a;
	return 0;
}

void api_answer_fini(struct api_answer *a)
{
	json_decref(a->object);
	*a = (struct api_answer){ 0 };
}
