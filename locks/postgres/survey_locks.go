package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/survey"
)

// watch looks at the advisory locks and the lease tables until the time is over. They are
// looked at once in any case.
func (l *look) watch(ctx context.Context) error {
	began := time.Now()
	until := began.Add(l.options.For)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	seen := map[string]bool{}
	for {
		if err := l.sight(ctx, seen); err != nil {
			return err
		}
		l.options.Progress(fmt.Sprintf("watch the advisory locks and %d lease %s", len(l.leases), plural(len(l.leases), "table", "tables")), until)
		if !time.Now().Before(until) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	l.found.Watched, l.found.Keys, l.found.All = time.Since(began), len(seen), true
	l.gather()
	return nil
}

// sight is one look at everything.
func (l *look) sight(ctx context.Context, seen map[string]bool) error {
	if err := l.advisory(ctx, seen); err != nil {
		return err
	}
	for _, table := range l.leases {
		if err := table.sight(ctx, l, seen); err != nil {
			return err
		}
	}
	return nil
}

// advisory looks at the advisory locks of this database. Those of a transaction and
// those of a session look alike.
func (l *look) advisory(ctx context.Context, seen map[string]bool) error {
	rows, err := l.conn.Query(ctx, `SELECT l.classid::bigint, l.objid::bigint, l.objsubid, l.granted, l.pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), '')
		FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		ORDER BY l.granted DESC LIMIT $1`, l.options.Limit)
	if err != nil {
		return fmt.Errorf("look at advisory locks: %w", err)
	}
	var high, low int64
	var parts, pid int
	var granted bool
	var name, address string
	held, waiting := map[string]string{}, map[string]int{}
	_, err = pgx.ForEachRow(rows, []any{&high, &low, &parts, &granted, &pid, &name, &address}, func() error {
		key := lockNumber{high<<32 | low, parts}.key()
		if !granted {
			waiting[key]++
		} else {
			held[key] = session(pid, name, address)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at advisory locks: %w", err)
	}
	at := time.Now()
	for key := range seen {
		if _, ok := held[key]; !ok {
			l.session.Free(key)
		}
	}
	for key, by := range held {
		if !l.asked(key) {
			continue
		}
		seen[key] = true
		l.session.See(survey.Sighting{Key: key, At: at, Kind: "advisory lock", Owner: by, Waiting: waiting[key], Certain: by + " holds it"})
	}
	return nil
}

// session says whose a backend is, as far as that is shown.
func session(pid int, name, address string) string {
	words := fmt.Sprintf("the session with pid %d", pid)
	if name != "" {
		words += " of " + name
	}
	if address != "" {
		words += " from " + address
	}
	return words
}

// asked: the look is for this key, or for all.
func (l *look) asked(key string) bool {
	return strings.HasPrefix(key, l.options.Prefix) && (l.options.Key == "" || l.options.Key == key)
}

// gather puts what was found in one list, each with the options that a plan needs for it.
func (l *look) gather() {
	for _, g := range l.session.Groups() {
		g.Options = fmt.Sprintf("{lock: %s, database: %q}", advisory, l.database)
		l.found.Locks = append(l.found.Locks, g)
	}
	for _, table := range l.leases {
		for _, g := range table.watch.Groups() {
			g.Options = table.yaml(l.database)
			l.found.Locks = append(l.found.Locks, g)
		}
	}
	survey.Sort(l.found.Locks)
	l.found.Options = fmt.Sprintf("{lock: %s, database: %q}", advisory, l.database)
	if len(l.leases) > 0 {
		l.found.Options = l.leases[0].yaml(l.database)
	}
}

// jsonOptions are the options of the likeliest lock, as a client is told of them.
func (l *look) jsonOptions() json.RawMessage {
	o := map[string]any{"lock": advisory, "database": l.database}
	best := ""
	if len(l.found.Locks) > 0 {
		best = l.found.Locks[0].Options
	} else {
		best = l.found.Options
	}
	i := slices.IndexFunc(l.leases, func(t *leaseTable) bool { return t.yaml(l.database) == best })
	if i >= 0 {
		o = l.leases[i].options(l.database)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil // strings only: it cannot fail
	}
	return text
}
