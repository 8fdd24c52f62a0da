/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_POLICY_H
#define CLI_POLICY_H

#include "cli/cli.h"

/* The parts of `sekisho policy`; each returns the exit code. */

/* Two files against each other, or one against the rules the daemon has from a file of that name: 0 the same, 1 not, 2
 * something is wrong. */
int policy_diff(struct cli *c, const char *const *names, size_t n);
/* All rules in force, each with where it comes from; `app` NULL: of all. */
int policy_show(struct cli *c, const char *app);
/* The answers as rule lines that say when they end and what is left of their counts. */
int policy_export(struct cli *c);
/* The rules of a file become answers, all or none. */
int policy_import(struct cli *c, const char *name);

/* Checks the file with all others of the daemon's policy_dir, says what changes, puts it there under its name and has
 * the daemon read all again; if that refuses them, everything is as it was. */
int policy_apply(struct cli *c, const char *name, bool dry_run);
/* The other way: takes a file of policy_dir away, if the other files can do without it. */
int policy_withdraw(struct cli *c, const char *name);

#endif
