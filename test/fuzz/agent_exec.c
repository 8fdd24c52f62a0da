/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/exec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct agent_exec e;
	static uint8_t buf[AGENT_BODY_MAX + 4096];
	if (!agent_exec_get(data, len, &e))
		return 0;
	struct wr w = wr_init(buf, sizeof(buf));
	if (!agent_exec_put(&w, &e) || w.len != len || memcmp(buf, data, len) != 0)
		abort();
	return 0;
}
