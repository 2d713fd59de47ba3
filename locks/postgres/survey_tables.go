package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

// leaseTable is a table that is built as lease tables are.
type leaseTable struct {
	watched
	// own: it is built as this driver builds it, so that an audit can use it too.
	own   bool
	watch survey.Watch
}

// Bounds of the search in the catalog.
const (
	maxTables = 20
	// columnsOf are asked for at most so many columns with telling names.
	maxColumns = 2000
)

// candidates is the search: columns that are named as those of a lease are, in tables of
// users. Only the catalog is read, which everybody may.
const candidates = `
SELECT n.nspname, c.relname, c.reltuples::bigint, a.attname, t.typcategory = 'D' AND t.typname IN ('timestamp', 'timestamptz'),
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
  has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'
  AND (a.attname ~* $1 OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum))
  AND EXISTS (SELECT FROM pg_attribute e WHERE e.attrelid = c.oid AND e.attname ~* $2 AND NOT e.attisdropped)
ORDER BY n.nspname, c.relname, a.attnum LIMIT $3`

// Names of columns, as lease tables of libraries and of people have them.
const (
	expiresNames = `(expir|_until$|lease_end|^until$|deadline)`
	ownerNames   = `(owner|holder|locked_by|lock_by|acquired_by|^instance(_id)?$|^worker(_id)?$)`
	tokenNames   = `(token|fence|fencing|^epoch$|generation)`
)

// column of a table that may be a lease table.
type column struct {
	schema, table, name          string
	rows                         int64
	timestamp, unique            bool
	schemaReadable, rowsReadable bool
}

// tables finds the lease tables. What may not be read is named.
func (l *look) tables(ctx context.Context) error {
	l.options.Progress("search the catalog for lease tables", time.Time{})
	rows, err := l.conn.Query(ctx, candidates, expiresNames+"|"+ownerNames+"|"+tokenNames, expiresNames, maxColumns)
	if err != nil {
		return fmt.Errorf("search the catalog: %w", err)
	}
	byTable := map[string][]column{}
	var names []string
	var c column
	_, err = pgx.ForEachRow(rows, []any{&c.schema, &c.table, &c.rows, &c.name, &c.timestamp, &c.unique, &c.schemaReadable, &c.rowsReadable}, func() error {
		name := c.schema + "." + c.table
		if byTable[name] == nil {
			names = append(names, name)
		}
		byTable[name] = append(byTable[name], c)
		return nil
	})
	if err != nil {
		return fmt.Errorf("search the catalog: %w", err)
	}
	for _, name := range names {
		t, ok := leaseColumns(byTable[name])
		if !ok || !l.readable(t, byTable[name][0]) {
			continue
		}
		if len(l.leases) == maxTables {
			l.note("there are more than %d tables that look like lease tables; only these are watched", maxTables)
			break
		}
		if t.Key == "key" && t.Owner == "token" && t.Expires == "expires_at" {
			_, err := describe(ctx, l.conn, options{Table: t.Table})
			t.own = err == nil
		}
		l.leases = append(l.leases, t)
	}
	return nil
}

// readable says what is missing to look at a table's rows, or why that would be too much.
func (l *look) readable(t *leaseTable, c column) bool {
	user := pgx.Identifier{l.target.Username}.Sanitize()
	switch {
	case !tableName.MatchString(t.Table):
		l.note("the table %s looks like a lease table, and its name is none that a plan can hold", t.quoted())
	case !c.schemaReadable:
		l.note("%s looks like a lease table: needs the permission GRANT USAGE ON SCHEMA %s TO %s", t.quoted(), pgx.Identifier{c.schema}.Sanitize(), user)
	case !c.rowsReadable:
		l.note("%s looks like a lease table: needs the permission GRANT SELECT ON %s TO %s", t.quoted(), t.quoted(), user)
	case c.rows > int64(l.options.Limit):
		l.note("%s looks like a lease table, and has about %d rows: a higher --limit would look at it", t.quoted(), c.rows)
	default:
		return true
	}
	return false
}

// leaseColumns decides by names and types. Tables of sessions and of tokens for a login
// have an end too; a lease table says lock or lease somewhere, or who holds it.
func leaseColumns(columns []column) (*leaseTable, bool) {
	var t leaseTable
	first := columns[0]
	t.Table = first.schema + "." + first.table
	token, named := "", survey.Named(first.table)
	for _, c := range columns {
		switch lower := strings.ToLower(c.name); {
		case c.timestamp && t.Expires == "" && matches(expiresNames, lower):
			t.Expires = c.name
		case c.unique && t.Key == "":
			t.Key = c.name
		case t.Owner == "" && matches(ownerNames, lower):
			t.Owner = c.name
		case token == "" && matches(tokenNames, lower):
			token = c.name
		}
		named = named || survey.Named(c.name) || strings.Contains(strings.ToLower(c.name), "locked_")
	}
	if t.Owner == "" {
		t.Owner = token
	}
	return &t, named && t.Expires != "" && t.Key != "" && t.Owner != ""
}

// matches goes by the same expressions as the catalog search.
func matches(names, column string) bool { return regexp.MustCompile(names).MatchString(column) }

// options of a plan for this table, as driver and plan take them.
func (t *leaseTable) options(database string) map[string]any {
	if t.own {
		return map[string]any{"lock": lease, "database": database, "table": t.Table}
	}
	return map[string]any{"lock": lease, "database": database, "watch": t.watched}
}

func (t *leaseTable) yaml(database string) string {
	if t.own {
		return fmt.Sprintf("{lock: %s, database: %q, table: %q}", lease, database, t.Table)
	}
	return fmt.Sprintf("{lock: %s, database: %q, watch: {table: %q, key: %q, owner: %q, expires: %q}}", lease, database, t.Table, t.Key, t.Owner, t.Expires)
}

// sight looks at the leases that run.
func (t *leaseTable) sight(ctx context.Context, l *look, seen map[string]bool) error {
	rows, err := t.read(ctx, l.conn, l.options.Limit, l.options.Prefix, l.options.Key)
	if err != nil {
		err = denied(definite(err), l.target.Username, l.database, t.quoted())
		var missing *locks.Denied
		if errors.As(err, &missing) {
			return err
		}
		return fmt.Errorf("look at %s: %w", t.quoted(), err)
	}
	at := time.Now()
	id := func(key string) string { return t.Table + "/" + key }
	for _, r := range rows {
		seen[id(r.key)] = true
		t.watch.See(survey.Sighting{
			Key: r.key, At: at, Kind: "row of " + t.Table, Owner: r.owner, Left: r.left, Leased: true,
			Certain: fmt.Sprintf("its table has the columns %s and %s", t.Owner, t.Expires),
		})
	}
	for key := range seen {
		own, ok := strings.CutPrefix(key, t.Table+"/")
		if ok && !slices.ContainsFunc(rows, func(r row) bool { return r.key == own }) {
			t.watch.Free(own)
		}
	}
	return nil
}
