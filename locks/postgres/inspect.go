package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// Inspect implements locks.Driver. It only reads, and asks every endpoint for itself.
func (Driver) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	o, err := optionsOf(t)
	if err != nil {
		return facts.Deployment{}, err
	}
	d := facts.Deployment{
		Backend: "postgres", // and no Consensus: a commit that a standby confirms is none
		Evicts:  yes(false),
		TLS:     yes(t.TLS != nil), // configure never falls back to plain text
		// SQL has no other clock than the wall's; a session has no lease at all.
		WallClock:     yes(o.Lock == lease),
		OrderedTokens: yes(false),
		Durable:       yes(false), // advisory locks are in memory only
	}
	if o.Lock == lease {
		d.MinTTL = time.Millisecond
	}
	var failed error
	read := 0
	for _, e := range t.Endpoints {
		m, err := lookAt(ctx, t, o, e, &d)
		if err != nil {
			m.Err, failed = err.Error(), errors.Join(failed, err)
		} else {
			read++
		}
		d.Members = append(d.Members, m)
	}
	if read == 0 {
		return facts.Deployment{}, failed
	}
	d.Auth = auth(ctx, t, o, &d)
	return d, nil
}

func yes(b bool) *bool { return &b }

func unknown(d *facts.Deployment, what string, err error) {
	d.Unknown = append(d.Unknown, fmt.Sprintf("%s: %v", what, err))
}

// single is the target with one endpoint.
func single(t locks.Target, endpoint string) locks.Target {
	t.Endpoints = []string{endpoint}
	return t
}

// lookAt reads one server. What concerns the service as a whole is the primary's.
func lookAt(ctx context.Context, t locks.Target, o options, endpoint string, d *facts.Deployment) (facts.Member, error) {
	m := facts.Member{Endpoint: endpoint}
	config, err := configure(single(t, endpoint), o)
	if err != nil {
		return m, err
	}
	conn, err := dial(ctx, config)
	if err != nil {
		return m, err
	}
	defer func() { _ = hangUp(conn) }()
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	standby, err := identity(ctx, conn, &m)
	if err != nil {
		return m, err
	}
	clock(ctx, conn, &m, d)
	if d.Version == "" || olderThan(m.Version, d.Version) {
		d.Version = m.Version
	}
	if standby && len(t.Endpoints) > 1 {
		return m, nil
	}
	primary(ctx, conn, o, d)
	return m, nil
}

// identity reads who the server is. Standbys have the primary's system identifier,
// so the time of the start is part of the identity.
func identity(ctx context.Context, conn *pgx.Conn, m *facts.Member) (standby bool, err error) {
	var started int64
	err = conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), current_setting('server_version'),
		(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint`).Scan(&standby, &m.Version, &started)
	if err != nil {
		return false, fmt.Errorf("read identity: %w", definite(err))
	}
	m.ID, m.Role = fmt.Sprintf("started %d", started), "primary"
	if standby {
		m.Role = "standby"
	}
	var system int64
	if err := conn.QueryRow(ctx, "SELECT system_identifier FROM pg_control_system()").Scan(&system); err == nil {
		m.ID = fmt.Sprintf("%d %s", system, m.ID) // it may be reserved to administrators
	}
	return standby, nil
}

// olderThan compares the major versions, which are all that counts since 10.
func olderThan(a, b string) bool {
	var x, y int
	_, _ = fmt.Sscanf(a, "%d", &x) // what is no number counts as 0
	_, _ = fmt.Sscanf(b, "%d", &y)
	return x < y
}

// clock compares the server's wall clock with ours, at the middle of the request.
func clock(ctx context.Context, conn *pgx.Conn, m *facts.Member, d *facts.Deployment) {
	before := time.Now()
	var server time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&server); err != nil {
		unknown(d, "clock of "+m.Endpoint, err)
		return
	}
	half := time.Since(before) / 2
	skew := server.Sub(before.Add(half).Round(0)) // Round(0): compare wall clocks
	m.Clock, m.ClockError = &skew, half
}

// auth logs in without a password.
func auth(ctx context.Context, t locks.Target, o options, d *facts.Deployment) *bool {
	t.Password = ""
	if t.TLS != nil { // a client certificate is a credential too
		plain := *t.TLS
		plain.CertFile, plain.KeyFile = "", ""
		t.TLS = &plain
	}
	config, err := configure(t, o)
	if err != nil {
		unknown(d, "authentication", err)
		return nil
	}
	conn, err := dial(ctx, config)
	if err == nil {
		_ = hangUp(conn)
		return yes(false)
	}
	var answered *pgconn.PgError
	if errors.As(err, &answered) && answered.Code[:min(2, len(answered.Code))] == "28" { // invalid authorization
		return yes(true)
	}
	unknown(d, "authentication", err)
	return nil
}
