package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockaudit/lockaudit/locks"
)

const (
	// reachLimit is how long a server may take to accept a connection and a login.
	reachLimit = 3 * time.Second
	// answerLimit bounds a statement whose context has no deadline.
	answerLimit = 10 * time.Second
)

// scheme of an endpoint; database and user are not part of it.
const scheme = "postgres://"

// configure is how to connect. Only the target counts: what the environment or
// files of the user would add (PGHOST, PGOPTIONS, .pgpass) is left out.
func configure(t locks.Target, o options) (*pgx.ConnConfig, error) {
	if len(t.Endpoints) == 0 {
		return nil, fmt.Errorf("connect to postgres: no endpoint: %w", locks.ErrRefused)
	}
	if t.Username == "" {
		return nil, fmt.Errorf("connect to postgres: no username: %w", locks.ErrRefused)
	}
	config, err := pgx.ParseConfig("host=localhost port=5432 user=nobody password=none dbname=postgres sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: read environment: %w: %w", err, locks.ErrRefused)
	}
	config.User, config.Password, config.Database = t.Username, t.Password, o.Database
	config.Fallbacks, config.ValidateConnect, config.AfterConnect = nil, nil, nil
	config.KerberosSpn, config.KerberosSrvName, config.SSLNegotiation, config.RequireAuth = "", "", "", ""
	config.ConnectTimeout = reachLimit
	config.RuntimeParams = map[string]string{
		"application_name": "lockaudit",
		// The statements of a lease are right under this isolation, and a stricter one
		// would refuse some of two that wait for each other.
		"default_transaction_isolation": "read committed",
	}
	if t.ReadOnly {
		// The server refuses every statement that would write, whoever has sent it.
		config.RuntimeParams["default_transaction_read_only"] = "on"
	}
	// One round trip, and nothing that a pooler between us and the server would lose.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	for i, e := range t.Endpoints {
		f, err := endpoint(e, t.TLS)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			config.Host, config.Port, config.TLSConfig = f.Host, f.Port, f.TLSConfig
			continue
		}
		config.Fallbacks = append(config.Fallbacks, f)
	}
	if len(t.Endpoints) > 1 {
		// A standby cannot lock; whichever is primary now can.
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return config, nil
}

func endpoint(e string, t *locks.TLS) (*pgconn.FallbackConfig, error) {
	host, port, err := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(e, scheme), "/"))
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || host == "" || n == 0 {
		return nil, fmt.Errorf("connect to postgres: endpoint %q is not host:port: %w", e, locks.ErrRefused)
	}
	f := &pgconn.FallbackConfig{Host: host, Port: uint16(n)}
	if t == nil {
		return f, nil
	}
	var config *tls.Config
	if config, err = t.Config(); err != nil {
		return nil, fmt.Errorf("connect to postgres: %w: %w", err, locks.ErrRefused)
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	f.TLSConfig = config
	return f, nil
}

// definite marks an error by which the server itself has refused a statement. Those
// by which it says that it is going down, or that it is broken, leave open how far
// it came.
func definite(err error) error {
	var answered *pgconn.PgError
	if !errors.As(err, &answered) {
		return err
	}
	switch class := answered.Code[:min(2, len(answered.Code))]; class {
	case "08", "57", "58", "XX": // connection, operator intervention, system, internal
		return err
	}
	return fmt.Errorf("%w: %w", locks.ErrRefused, err)
}

// bounded gives a statement a deadline if its context has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, answerLimit)
}
