/* SPDX-License-Identifier: Apache-2.0 */
/* The rule line of a question, edited at the terminal (editline(3)): begun with a suggestion, completed by Tab, and not
 * given back before the grammar takes it. What comes from the daemon meanwhile is looked at between two keys. */
#include "cli/ask_edit.h"

#include "cli/cli.h"

#include "policy/parse.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RULE_MAX = 4096 };

struct edit {
	const struct ask_edit_watch *watch;
	struct cli *c;
	bool gone; /* nobody waits for this answer any more */
};

static char *prompt(EditLine *el)
{
	static char text[] = "  rule> ";
	(void)el;
	return text;
}

static struct edit *edit_of(EditLine *el)
{
	struct edit *e = NULL;
	el_get(el, EL_CLIENTDATA, &e);
	return e;
}

/* The next character: 1, or 0 for the end of it all. */
static int next_char(EditLine *el, wchar_t *ret)
{
	struct edit *e = edit_of(el);
	while (!e->gone) {
		struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = e->watch->fd, .events = POLLIN } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return 0;
		if (p[1].revents != 0 && !e->watch->look(e->watch->arg)) {
			e->gone = true;
			break;
		}
		if (p[0].revents == 0)
			continue;
		unsigned char b;
		if (read(STDIN_FILENO, &b, 1) != 1)
			return 0;
		/* A rule line is ASCII but for its note; what is not is left out here and may be written in a file. */
		if (b < 0x80 && b != 0x1b) {
			*ret = b;
			return 1;
		}
		if (b == 0x1b && poll(p, 1, 50) == 0)
			return 0; /* Escape: later */
		*ret = b;
		return 1;
	}
	return 0;
}

/* Tab: what may stand where the cursor is, as the shells' completion knows it. */
static unsigned char tab(EditLine *el, int ch)
{
	(void)ch;
	struct edit *e = edit_of(el);
	const LineInfo *li = el_line(el);
	char line[RULE_MAX], insert[256];
	size_t len = (size_t)(li->cursor - li->buffer);
	if (len >= sizeof(line))
		return CC_ERROR;
	memcpy(line, li->buffer, len);
	line[len] = '\0';
	unsigned n = cli_complete_line(e->c, line, insert, sizeof(insert));
	if (n == 0)
		return CC_ERROR;
	if (insert[0] != '\0')
		el_insertstr(el, insert);
	return n > 1 ? CC_REDISPLAY : CC_REFRESH;
}

/* False: it was said what is wrong with it. */
static bool takes(const char *line)
{
	struct policy_rule rule;
	struct policy_diag diag;
	if (policy_parse_rule(line, strlen(line), &rule, &diag) == 0)
		return true;
	fprintf(stderr, "  %*s^ %s\n", (int)(diag.col + 5), "", diag.message);
	return false;
}

int ask_edit(struct cli *c, const char *first, const struct ask_edit_watch *watch, char *ret, size_t cap)
{
	struct edit e = { .watch = watch, .c = c };
	EditLine *el = el_init("sekisho", stdin, stdout, stderr);
	char line[RULE_MAX];
	int count = 0, result = -ECANCELED;
	if (el == NULL)
		return -ENOMEM;
	el_set(el, EL_EDITOR, "emacs");
	el_set(el, EL_SIGNAL, 1);
	el_set(el, EL_PROMPT, prompt);
	el_set(el, EL_CLIENTDATA, &e);
	el_set(el, EL_GETCFN, next_char);
	el_set(el, EL_ADDFN, "sekisho-tab", "what may stand here", tab);
	el_set(el, EL_BIND, "^I", "sekisho-tab", NULL);
	snprintf(line, sizeof(line), "%s", first);
	for (;;) {
		el_push(el, line);
		const char *got = el_gets(el, &count);
		if (got == NULL || count <= 0 || e.gone)
			break;
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(got, "\r\n"), got);
		if (line[strspn(line, " ")] == '\0')
			break;
		if (!takes(line))
			continue;
		if ((size_t)snprintf(ret, cap, "%s", line) < cap)
			result = 0;
		break;
	}
	el_end(el);
	return e.gone ? -ESTALE : result;
}
