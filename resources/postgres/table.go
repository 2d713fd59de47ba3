package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockaudit/lockaudit/resources"
)

// statements on the two tables. Tokens are numeric(64): they are compared as the whole
// numbers that they are, whatever their size.
type statements struct{ create, ordered, store, raise, mark, read string }

func statementsOf(table string) statements {
	parts := strings.Split(table, ".")
	rows := pgx.Identifier(parts).Sanitize()
	parts[len(parts)-1] += "_mark"
	names := strings.NewReplacer("{rows}", rows, "{marks}", pgx.Identifier(parts).Sanitize())
	const (
		values = "INSERT INTO {rows} AS r (name, value, token, op_id, seq) "
		update = ` ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value, token = EXCLUDED.token, op_id = EXCLUDED.op_id, seq = r.seq + 1
RETURNING seq`
		raise = `INSERT INTO {marks} AS m (scope, fence) VALUES ($1, $2::numeric)
ON CONFLICT (scope) DO UPDATE SET fence = EXCLUDED.fence WHERE m.fence <= EXCLUDED.fence`
	)
	return statements{
		create: names.Replace(`
CREATE TABLE IF NOT EXISTS {marks} (scope text PRIMARY KEY, fence numeric(64) NOT NULL);
CREATE TABLE IF NOT EXISTS {rows} (
  name text PRIMARY KEY, value text NOT NULL, token text NOT NULL, op_id text NOT NULL, seq bigint NOT NULL
)`),
		ordered: names.Replace(`
WITH accepted AS (
  INSERT INTO {marks} AS m (scope, fence) VALUES ($5, $6::numeric)
  ON CONFLICT (scope) DO UPDATE SET fence = EXCLUDED.fence WHERE m.fence <= EXCLUDED.fence
  RETURNING fence
)
` + values + "SELECT $1::text, $2::text, $3::text, $4::text, 1 FROM accepted" + update),
		store: names.Replace(values + "VALUES ($1, $2, $3, $4, 1)" + update),
		raise: names.Replace(raise),
		mark:  names.Replace("SELECT fence::text FROM {marks} WHERE scope = $1"),
		read:  names.Replace("SELECT value, token, seq FROM {rows} WHERE name = $1"),
	}
}

// configure is how to connect. Only the target counts: what the environment or files
// of the user would add (PGHOST, PGOPTIONS, .pgpass) is left out.
func configure(t resources.Target, o options) (*pgxpool.Config, error) {
	if len(t.Endpoints) != 1 {
		return nil, fmt.Errorf("%d endpoints, want one: %w", len(t.Endpoints), resources.ErrRefused)
	}
	if t.Username == "" {
		return nil, fmt.Errorf("no username: %w", resources.ErrRefused)
	}
	host, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(t.Endpoints[0], "postgres://"), "/"))
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || host == "" || n == 0 {
		return nil, fmt.Errorf("endpoint %q is not host:port: %w", t.Endpoints[0], resources.ErrRefused)
	}
	config, err := pgxpool.ParseConfig("host=localhost port=5432 user=nobody password=none dbname=postgres sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("read environment: %w: %w", err, resources.ErrRefused)
	}
	config.PingTimeout = reachLimit
	c := config.ConnConfig
	c.Host, c.Port, c.User, c.Password, c.Database = host, uint16(n), t.Username, t.Password, o.Database
	c.Fallbacks, c.ValidateConnect, c.AfterConnect = nil, nil, nil
	c.KerberosSpn, c.KerberosSrvName, c.SSLNegotiation, c.RequireAuth = "", "", "", ""
	c.ConnectTimeout = reachLimit
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.RuntimeParams = map[string]string{"application_name": "lockaudit", "default_transaction_isolation": "read committed"}
	if o.CA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, fmt.Errorf("read ca: %w: %w", err, resources.ErrRefused)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read ca: no certificate in %s: %w", o.CA, resources.ErrRefused)
	}
	c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: host}
	return config, nil
}
