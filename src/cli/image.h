/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include "api/client.h"

/* What `run --image` adds to a call of Apps.Run: prepares the image when it is not, opens it and, unless ephemeral, the
 * application's layer. `params` gets the members that describe it; its "argv", "env" and "user" (null without) are what
 * the person said, and are replaced. *ret_fds are the caller's to close. False after the reason was said. */
bool cli_image_use(const char *image, const char *app, bool ephemeral, json_t *params, struct api_fds *ret_fds);

/* The same for `run --keep`: a layer over this computer's directories. */
bool cli_layer_use(const char *app, json_t *params, struct api_fds *ret_fds);

#endif
