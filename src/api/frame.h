/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_FRAME_H
#define API_FRAME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The wire form of varlink (varlink.org): one JSON object per message, ended by a zero byte. */
enum {
	API_MESSAGE_MAX = 1 << 20,
	API_DEPTH_MAX = 32,
	API_VALUES_MAX = 8192, /* of a call: 1 MiB of "[],[]," would be 50 MiB of objects */
};

/* The incremental reader. Zero-initialised; api_in_fini() releases. */
struct api_in {
	char *buf;
	size_t len, cap;
	size_t scanned; /* bytes known to hold no end */
	size_t taken;	/* of the messages given, to be dropped when room is needed */
	size_t values;	/* what one message may hold; 0: no limit */
};

void api_in_fini(struct api_in *in);
/* Room for at least one more byte at *ret_p, *ret_room of it; -EMSGSIZE when a message is longer than API_MESSAGE_MAX,
 * -ENOMEM. */
int api_in_room(struct api_in *in, char **ret_p, size_t *ret_room) __attribute__((warn_unused_result));
/* `n` bytes were put where api_in_room() said. */
void api_in_add(struct api_in *in, size_t n);
/* 1: *ret is the next message, the caller's reference; 0: more bytes are needed; -EBADMSG: not a JSON object, too deep,
 * too many values, a member twice, not UTF-8; -EMSGSIZE. */
int api_in_next(struct api_in *in, json_t **ret) __attribute__((warn_unused_result));
/* The next one is whole. */
bool api_in_whole(const struct api_in *in);
/* One object from the bytes of one message, without its zero byte. */
int api_parse(const char *text, size_t len, json_t **ret) __attribute__((warn_unused_result));
/* The message with its zero byte, malloc'd; NULL without memory or when it would be longer than API_MESSAGE_MAX. */
char *api_print(const json_t *message, size_t *ret_len);

#endif
