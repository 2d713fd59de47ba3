package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/facts"
)

// settings that the facts rest on, or that a reader of the report wants to see. Those
// about connections decide when a dead holder's session ends; they are as in effect on
// our own connection, which may be a Unix socket's for somebody else.
var settings = []string{
	"fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names",
	"wal_level", "ssl", "password_encryption", "max_connections",
	idleSession, "idle_in_transaction_session_timeout", "client_connection_check_interval",
	"tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout",
}

const idleSession = "idle_session_timeout"

// primary reads what concerns the service as a whole.
func primary(ctx context.Context, conn *pgx.Conn, o options, d *facts.Deployment) {
	values := map[string]string{}
	for _, name := range settings {
		var value string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			unknown(d, "setting "+name, err) // newer than the server, or reserved
			continue
		}
		values[name] = value
		d.Settings = append(d.Settings, facts.Setting{Name: name, Value: value})
	}
	if after, ok := silence(ctx, conn); ok {
		d.Settings = append(d.Settings, facts.Setting{Name: "a silent session ends after", Value: after})
	}
	replication(ctx, conn, d)
	if o.Lock != lease {
		return
	}
	d.Durable = nil
	if values["fsync"] != "" && values["synchronous_commit"] != "" {
		d.Durable = yes(values["fsync"] == "on" && values["synchronous_commit"] != "off")
	}
	table, err := describe(ctx, conn, o)
	if o.Watch != nil && errors.Is(err, errNoTable) {
		d.OrderedTokens = nil // the application's table is another one
		return
	}
	if err != nil {
		d.OrderedTokens = nil
		unknown(d, "lease table", err)
		return
	}
	d.OrderedTokens = yes(table.ordered())
	if !table.logged {
		d.Durable = yes(false)
	}
	d.Settings = append(d.Settings,
		facts.Setting{Name: o.Table + " is logged", Value: strconv.FormatBool(table.logged)},
		facts.Setting{Name: o.Table + "_token cache", Value: strconv.FormatInt(table.cache, 10)},
	)
}

// silence is how long the server keeps a session of which it hears nothing, in words:
// until then a dead holder's advisory lock stays.
func silence(ctx context.Context, conn *pgx.Conn) (string, bool) {
	var idle, interval, count, session int64
	err := conn.QueryRow(ctx, `SELECT
		(SELECT setting::bigint FROM pg_settings WHERE name = 'tcp_keepalives_idle'),
		(SELECT setting::bigint FROM pg_settings WHERE name = 'tcp_keepalives_interval'),
		(SELECT setting::bigint FROM pg_settings WHERE name = 'tcp_keepalives_count'),
		coalesce((SELECT setting::bigint FROM pg_settings WHERE name = $1), 0)`, idleSession).Scan(&idle, &interval, &count, &session)
	if err != nil {
		return "", false
	}
	after := time.Duration(idle+interval*count) * time.Second
	by := "keepalive"
	if s := time.Duration(session) * time.Millisecond; s > 0 && (s < after || after == 0) {
		after, by = s, idleSession
	}
	if after == 0 {
		return "", false
	}
	return fmt.Sprintf("%s (%s)", after, by), true
}

// replication lists the standbys that are connected. Another user's are counted, and
// say no more than that without the role pg_monitor.
func replication(ctx context.Context, conn *pgx.Conn, d *facts.Deployment) {
	rows, err := conn.Query(ctx, `SELECT coalesce(application_name, ''), coalesce(state, ''), coalesce(sync_state, ''),
		coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, replay_lsn), -1)::bigint
		FROM pg_stat_replication`)
	if err != nil {
		unknown(d, "replication", err)
		return
	}
	type standby struct {
		name, state, sync string
		behind            int64 // bytes
	}
	var s standby
	_, err = pgx.ForEachRow(rows, []any{&s.name, &s.state, &s.sync, &s.behind}, func() error {
		d.Replicas++
		if s.state == "" {
			unknown(d, "replication to a standby", fmt.Errorf("its state is reserved to pg_monitor"))
			return nil
		}
		d.Settings = append(d.Settings, facts.Setting{
			Name: "standby " + s.name, Value: fmt.Sprintf("%s, %s, %d bytes behind", s.state, s.sync, s.behind),
		})
		return nil
	})
	if err != nil {
		unknown(d, "replication", err)
	}
}
