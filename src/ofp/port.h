/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_PORT_H
#define OFP_PORT_H

#include "base/addr.h"
#include "base/rd.h"
#include "base/wr.h"

/* Ports, meters, tables: what the switch tells about itself. Iterators take the body of a multipart reply
 * (ofp_read_multipart). */
enum { OFP_PORT_NAME_MAX = 16 };
enum { OFP_PORTC_DOWN = 1 };			      /* config */
enum { OFP_PORTS_LINK_DOWN = 1, OFP_PORTS_LIVE = 4 }; /* state */
enum ofp_port_reason { OFP_PORT_ADDED, OFP_PORT_DELETED, OFP_PORT_MODIFIED };

/* OF 1.5.1 §7.2.1; properties are skipped. */
struct ofp_port {
	uint32_t number;
	struct mac mac;
	char name[OFP_PORT_NAME_MAX + 1];
	uint32_t config, state;
};
void ofp_put_port_desc_request(struct wr *w, uint32_t xid, uint32_t port);
bool ofp_next_port(struct rd *body, struct ofp_port *ret);
void ofp_put_port(struct wr *body, const struct ofp_port *p);
/* OF 1.5.1 §7.4.3 */
int ofp_read_port_status(const void *msg, size_t len, enum ofp_port_reason *ret_reason, struct ofp_port *ret);
void ofp_put_port_status(struct wr *w, uint32_t xid, enum ofp_port_reason reason, const struct ofp_port *p);

/* A meter with one drop band (OF 1.5.1 §7.3.4.5). burst in packets or kilobits; 0: none given. */
enum ofp_meter_command { OFP_METER_ADD, OFP_METER_MODIFY, OFP_METER_DELETE };
enum { OFP_METER_ALL = 0xffffffffu };
struct ofp_meter {
	uint32_t id;
	bool kbps; /* else packets per second */
	uint32_t rate, burst;
};
void ofp_put_meter_mod(struct wr *w, uint32_t xid, enum ofp_meter_command command, const struct ofp_meter *m);
int ofp_read_meter_mod(const void *msg, size_t len, enum ofp_meter_command *ret_command, struct ofp_meter *ret);

void ofp_put_meter_stats_request(struct wr *w, uint32_t xid, uint32_t meter);
struct ofp_meter_stats {
	uint32_t id;
	uint64_t packets, bytes; /* that came to it */
	uint64_t dropped_packets, dropped_bytes;
};
bool ofp_next_meter_stats(struct rd *body, struct ofp_meter_stats *ret);
void ofp_put_meter_stats(struct wr *body, const struct ofp_meter_stats *m);

void ofp_put_meter_features_request(struct wr *w, uint32_t xid);
struct ofp_meter_features {
	uint32_t max_meters;
	uint32_t band_types;   /* bit 1: drop */
	uint32_t capabilities; /* bit 0 kbps, 1 pktps, 2 burst, 3 stats */
	uint8_t max_bands, max_color;
};
/* From the body of a multipart reply. */
bool ofp_next_meter_features(struct rd *body, struct ofp_meter_features *ret);
void ofp_put_meter_features(struct wr *body, const struct ofp_meter_features *f);

void ofp_put_table_stats_request(struct wr *w, uint32_t xid);
struct ofp_table_stats {
	uint8_t table;
	uint32_t flows;
	uint64_t lookups, matches;
};
bool ofp_next_table_stats(struct rd *body, struct ofp_table_stats *ret);
void ofp_put_table_stats(struct wr *body, const struct ofp_table_stats *t);

#endif
