/* SPDX-License-Identifier: Apache-2.0 */
#include "api/conn.h"

#include <errno.h>
#include <string.h>

/* Each .inc is an interface file as a C string, made by the build. */
static const struct {
	const char *name, *text;
} interfaces[] = {
	{
		"org.varlink.service",
#include "org.varlink.service.inc"
	},
	{
		"org.sekisho",
#include "org.sekisho.inc"
	},
	{
		"org.sekisho.Admin",
#include "org.sekisho.Admin.inc"
	},
	{
		"org.sekisho.Apps",
#include "org.sekisho.Apps.inc"
	},
	{
		"org.sekisho.Connections",
#include "org.sekisho.Connections.inc"
	},
	{
		"org.sekisho.Lists",
#include "org.sekisho.Lists.inc"
	},
	{
		"org.sekisho.Questions",
#include "org.sekisho.Questions.inc"
	},
	{
		"org.sekisho.Rules",
#include "org.sekisho.Rules.inc"
	},
};
enum { N_INTERFACES = sizeof(interfaces) / sizeof(interfaces[0]) };

const char *api_interface_name(unsigned i)
{
	return i < N_INTERFACES ? interfaces[i].name : NULL;
}

const char *api_interface_text(const char *interface)
{
	for (unsigned i = 0; i < N_INTERFACES; i++) {
		if (strcmp(interfaces[i].name, interface) == 0)
			return interfaces[i].text;
	}
	return NULL;
}

static int service_info(struct api_conn *c, const char *version)
{
	json_t *names = json_array();
	for (unsigned i = 0; i < N_INTERFACES; i++)
		json_array_append_new(names, json_string(interfaces[i].name));
	return api_conn_reply(c,
		json_pack("{s:s, s:s, s:s, s:s, s:o}", "vendor", "Sekisho", "product", "sekishod", "version", version,
			"url", "", "interfaces", names),
		false);
}

static int service_describe(struct api_conn *c, const struct api_call *call)
{
	const char *name = json_string_value(json_object_get(call->params, "interface"));
	if (name == NULL)
		return api_conn_error(c, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", "interface"));
	const char *text = api_interface_text(name);
	if (text == NULL)
		return api_conn_error(c, "org.varlink.service.InterfaceNotFound",
			json_pack("{s:s}", "interface", name));
	return api_conn_reply(c, json_pack("{s:s}", "description", text), false);
}

static bool interface_known(const char *method)
{
	const char *dot = strrchr(method, '.');
	for (unsigned i = 0; dot != NULL && i < N_INTERFACES; i++) {
		size_t len = strlen(interfaces[i].name);
		if (len == (size_t)(dot - method) && memcmp(interfaces[i].name, method, len) == 0)
			return true;
	}
	return false;
}

int api_service(struct api_conn *c, const struct api_call *call, const char *version)
{
	int err;
	if (strcmp(call->method, "org.varlink.service.GetInfo") == 0) {
		err = service_info(c, version);
	} else if (strcmp(call->method, "org.varlink.service.GetInterfaceDescription") == 0) {
		err = service_describe(c, call);
	} else if (!interface_known(call->method)) {
		const char *dot = strrchr(call->method, '.');
		size_t len = dot == NULL ? strlen(call->method) : (size_t)(dot - call->method);
		err = api_conn_error(c, "org.varlink.service.InterfaceNotFound",
			json_pack("{s:s%}", "interface", call->method, len));
	} else {
		return 0;
	}
	return err == 0 ? 1 : err;
}
