package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockaudit/lockaudit/locks"
)

// SQLSTATEs of refusals for want of a right.
const (
	insufficientPrivilege = "42501"
	invalidAuthorization  = "28000"
)

// denied names the right that a refusal is about, as an administrator grants it; other
// errors pass. what is granted on: a table's name, quoted, or empty.
func denied(err error, user, database, table string) error {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return err
	}
	name := pgx.Identifier{user}.Sanitize()
	needs := ""
	switch {
	case said.Code == invalidAuthorization && strings.Contains(said.Message, "not permitted to log in"):
		needs = "ALTER ROLE " + name + " LOGIN"
	case said.Code != insufficientPrivilege:
	case strings.Contains(said.Message, "for database"):
		needs = "GRANT CONNECT ON DATABASE " + pgx.Identifier{database}.Sanitize() + " TO " + name
	case strings.Contains(said.Message, "for schema") && strings.Contains(table, "."):
		needs = "GRANT USAGE ON SCHEMA " + strings.Split(table, ".")[0] + " TO " + name
	case strings.Contains(said.Message, "for table") && table != "":
		needs = "GRANT SELECT ON " + table + " TO " + name
	}
	if needs == "" {
		return err
	}
	return &locks.Denied{Needs: needs, Err: err}
}
