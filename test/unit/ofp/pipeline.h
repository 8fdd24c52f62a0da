/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_OFP_PIPELINE_H
#define TEST_OFP_PIPELINE_H

#include "ofp/msg.h"

/* The flows of the switch's pipeline, each as ovs-ofctl writes it and as calls that fill `fm` and `acts`. */
typedef void flow_fn(struct ofp_flow_mod *fm, struct wr *acts);

struct flow_case {
	const char *text;
	flow_fn *build;
};

extern const struct flow_case pipeline[];
extern const unsigned n_pipeline;

#endif
