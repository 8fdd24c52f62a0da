/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of `ask --json`, as its reader takes them apart: an answer names its question and says exactly one thing. */
#include "api/answer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void take(const char *line, size_t len)
{
	struct api_answer a;
	if (api_answer_parse(line, len, &a) != 0)
		return;
	if (a.id == NULL || a.digest == NULL || !json_is_object(a.object))
		abort();
	bool later = json_is_true(json_object_get(a.object, "later"));
	if ((a.rule != NULL) == later || strlen(a.id) + strlen(a.digest) > len)
		abort();
	api_answer_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	while (size > 0) {
		const char *end = memchr(p, '\n', size);
		size_t len = end == NULL ? size : (size_t)(end - p);
		take(p, len);
		len += end != NULL;
		p += len;
		size -= len;
	}
	return 0;
}
