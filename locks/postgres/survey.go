package postgres

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

const (
	// pollEvery is how often what may be a lock is looked at.
	pollEvery = 250 * time.Millisecond
	// patience bounds each statement of a look, at the server: a table that is larger
	// than its statistics say must not keep it busy.
	patience = 2 * time.Second
)

// Survey implements locks.Surveyor. Its session is read-only, which the server enforces;
// docs/guides/first-look.md has the grants for it, and a test that nothing more is used.
func (d Driver) Survey(ctx context.Context, t locks.Target, o survey.Options) (survey.Survey, error) {
	t.ReadOnly = true
	l := look{target: t, options: o}
	if err := l.connect(ctx); err != nil {
		return l.found, err
	}
	defer func() { _ = hangUp(l.conn) }()
	o.Progress("ask for the topology", time.Time{})
	if err := l.topology(ctx); err != nil {
		return l.found, err
	}
	l.clients(ctx)
	if err := l.tables(ctx); err != nil {
		return l.found, err
	}
	if err := l.watch(ctx); err != nil {
		return l.found, err
	}
	service, err := d.Inspect(ctx, l.asPlanned())
	if err != nil {
		return l.found, err
	}
	l.found.Service = service
	return l.found, nil
}

// look is one survey under way.
type look struct {
	target   locks.Target
	database string
	options  survey.Options
	conn     *pgx.Conn
	found    survey.Survey
	leases   []*leaseTable
	session  survey.Watch // advisory locks
	// seesAll: other users' sessions are shown as one's own.
	seesAll bool
}

func (l *look) note(format string, args ...any) {
	l.found.Notes = append(l.found.Notes, fmt.Sprintf(format, args...))
}

func (l *look) connect(ctx context.Context) error {
	o, err := optionsOf(l.target)
	if err != nil {
		return err
	}
	l.database = o.Database
	config, err := configure(l.target, o)
	if err != nil {
		return err
	}
	config.ValidateConnect = nil // also a standby is worth a look
	config.RuntimeParams["statement_timeout"] = strconv.FormatInt(patience.Milliseconds(), 10)
	l.conn, err = dial(ctx, config)
	return err
}

// topology finds the server on which locks are taken, and its standbys.
func (l *look) topology(ctx context.Context) error {
	l.found.Endpoints = slices.Clone(l.target.Endpoints)
	var standby bool
	var host string
	var port int
	err := l.query(ctx, `SELECT pg_is_in_recovery(), pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
		coalesce((SELECT sender_host FROM pg_stat_wal_receiver), ''), coalesce((SELECT sender_port FROM pg_stat_wal_receiver), 0)`,
		&standby, &l.seesAll, &host, &port)
	if err != nil {
		return fmt.Errorf("read topology: %w", err)
	}
	if !l.seesAll {
		l.note("whose sessions hold and wait, and from which machines, is hidden from %s: needs the permission GRANT pg_read_all_stats TO %s",
			l.target.Username, pgx.Identifier{l.target.Username}.Sanitize())
	}
	if standby {
		return l.primaryOf(ctx, host, port)
	}
	return l.standbys(ctx)
}

// primaryOf goes from a standby to where locks are taken.
func (l *look) primaryOf(ctx context.Context, host string, port int) error {
	at := l.target.Endpoints[0]
	if host == "" {
		l.found.Topology = "a standby"
		l.note("%s is a standby, and locks are taken at its primary, which it does not name; name it in the URL", at)
		return nil
	}
	primary := net.JoinHostPort(host, strconv.Itoa(port))
	l.options.Progress("this is a standby; go to its primary "+primary, time.Time{})
	_ = hangUp(l.conn)
	l.target.Endpoints = []string{primary}
	if err := l.connect(ctx); err != nil {
		return fmt.Errorf("%s is a standby, and locks are taken at its primary %s: %w", at, primary, err)
	}
	l.note("%s is a standby; the plan names its primary %s as well", at, primary)
	l.found.Endpoints = []string{primary, at}
	return l.standbys(ctx)
}

// standbys are those that are connected to the primary.
func (l *look) standbys(ctx context.Context) error {
	rows, err := l.conn.Query(ctx, `SELECT coalesce(host(client_addr), ''), coalesce(application_name, ''), coalesce(state, ''), coalesce(sync_state, '')
		FROM pg_stat_replication ORDER BY 1, 2`)
	if err != nil {
		return fmt.Errorf("read standbys: %w", err)
	}
	synchronous := 0
	var address, name, state, sync string
	_, err = pgx.ForEachRow(rows, []any{&address, &name, &state, &sync}, func() error {
		m := facts.Member{Endpoint: address, Name: name, Role: "standby"}
		if state != "" && state != "streaming" {
			m.Err = "state " + state
		}
		if sync == "sync" || sync == "quorum" {
			synchronous++
		}
		l.found.Others = append(l.found.Others, m)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read standbys: %w", err)
	}
	l.found.Topology = "one server without a standby"
	if n := len(l.found.Others); n > 0 {
		l.found.Topology = fmt.Sprintf("a primary with %d %s, %d of them synchronous", n, plural(n, "standby", "standbys"), synchronous)
		if !l.seesAll {
			l.found.Topology = fmt.Sprintf("a primary with %d %s", n, plural(n, "standby", "standbys"))
		}
	}
	var named string
	if err := l.query(ctx, "SELECT current_setting('synchronous_standby_names')", &named); err == nil && named != "" && synchronous == 0 && l.seesAll {
		l.note("synchronous_standby_names is %q and no such standby is connected: commits wait for one", named)
	}
	return nil
}

func plural(n int, one, several string) string {
	if n == 1 {
		return one
	}
	return several
}

// clients are the machines that are connected, without this look itself.
func (l *look) clients(ctx context.Context) {
	if !l.seesAll {
		return
	}
	rows, err := l.conn.Query(ctx, `SELECT coalesce(host(client_addr), 'a socket of the machine itself'), count(*), array_agg(DISTINCT application_name) FILTER (WHERE application_name <> '')
		FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1 ORDER BY 1`)
	if err != nil {
		l.note("connected machines could not be read: %v", err)
		return
	}
	l.found.Clients, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (c survey.Client, err error) {
		err = r.Scan(&c.Address, &c.Connections, &c.Names)
		c.Names = c.Names[:min(len(c.Names), maxNames)]
		return c, err
	})
	if err != nil {
		l.note("connected machines could not be read: %v", err)
	}
}

// maxNames of one machine's connections.
const maxNames = 5

// query reads one row.
func (l *look) query(ctx context.Context, sql string, into ...any) error {
	return l.conn.QueryRow(ctx, sql).Scan(into...)
}

// asPlanned is the target as the plan will have it, for the likeliest lock.
func (l *look) asPlanned() locks.Target {
	t := l.target
	t.Endpoints = l.found.Endpoints
	t.Options = l.jsonOptions()
	return t
}
