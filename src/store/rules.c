/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include "policy/rule.h"

int store_rule_add(struct store *s, struct store_rule *r)
{
	int err = db_run(s,
		"INSERT INTO rule(id, line, origin, owner, created, deadline, times_left, run, end, ended, boot_id, boot_ms)"
		" VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
		"ssuuiiuuuisi", r->id, r->line, r->origin, r->owner, r->created_ms, r->deadline_ms, r->times_left,
		r->run, r->end, r->ended_ms, r->boot_id, r->boot_ms);
	if (err != 0)
		return err;
	r->seq = sqlite3_last_insert_rowid(s->db);
	if (r->end == 0)
		seal_toggle(s, r);
	return 0;
}

int store_rule_end(struct store *s, int64_t seq, uint32_t end, int64_t ended_ms)
{
	int err = seal_toggle_row(s, seq);
	if (err != 0)
		return err;
	return db_run(s, "UPDATE rule SET end = ?2, ended = ?3 WHERE seq = ?1 AND end = 0", "iui", seq, end, ended_ms);
}

int store_rule_back(struct store *s, int64_t seq)
{
	int err = db_run(s, "UPDATE rule SET end = 0, ended = 0 WHERE seq = ?1 AND end != 0", "i", seq);
	return err != 0 ? err : seal_toggle_row(s, seq);
}

int store_rule_times(struct store *s, int64_t seq, uint32_t times_left)
{
	return db_run(s, "UPDATE rule SET times_left = ?2 WHERE seq = ?1", "iu", seq, times_left);
}

int store_rule_run(struct store *s, int64_t seq, uint32_t run)
{
	return db_run(s, "UPDATE rule SET run = ?2 WHERE seq = ?1", "iu", seq, run);
}

int store_rule_forget(struct store *s, int64_t seq)
{
	int err = seal_toggle_row(s, seq);
	return err != 0 ? err : db_run(s, "DELETE FROM rule WHERE seq = ?1", "i", seq);
}

int store_rules_prune(struct store *s, int64_t before_ms)
{
	/* What ended of a file's rule is kept as long as its line stands: else its life would begin again. */
	return db_run(s, "DELETE FROM rule WHERE end != 0 AND ended < ?1 AND origin = ?2", "iu", before_ms,
		(uint32_t)POLICY_ORIGIN_ANSWER);
}

int store_rules(struct store *s, struct store_rows **ret)
{
	return db_rows(s, ret,
		"SELECT seq, id, line, origin, owner, created, deadline, times_left, run, end, ended, boot_id, boot_ms FROM rule ORDER BY seq",
		"");
}

int store_rules_next(struct store_rows *q, struct store_rule *ret)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret = (struct store_rule){
		.seq = sqlite3_column_int64(q->q, 0),
		.id = db_text(q, 1),
		.line = db_text(q, 2),
		.origin = db_u32(q, 3),
		.owner = db_u32(q, 4),
		.created_ms = sqlite3_column_int64(q->q, 5),
		.deadline_ms = sqlite3_column_int64(q->q, 6),
		.times_left = db_u32(q, 7),
		.run = db_u32(q, 8),
		.end = db_u32(q, 9),
		.ended_ms = sqlite3_column_int64(q->q, 10),
		.boot_id = db_text(q, 11),
		.boot_ms = sqlite3_column_int64(q->q, 12),
	};
	return 1;
}
