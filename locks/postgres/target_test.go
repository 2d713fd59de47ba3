package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/postgres"
)

// open opens a client that is closed with the test.
func open(t *testing.T, target locks.Target) locks.Client {
	t.Helper()
	c, err := postgres.Driver{}.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func sql(t *testing.T, s *servers.Postgres, statement string) {
	t.Helper()
	conn, err := servers.Dial(t.Context(), s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestTargetIsChecked(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	for name, edit := range map[string]func(*locks.Target){
		"no endpoint":    func(t *locks.Target) { t.Endpoints = nil },
		"no port":        func(t *locks.Target) { t.Endpoints = []string{"localhost"} },
		"port 0":         func(t *locks.Target) { t.Endpoints = []string{"localhost:0"} },
		"no username":    func(t *locks.Target) { t.Username = "" },
		"no password":    func(t *locks.Target) { t.Password = "" },
		"wrong password": func(t *locks.Target) { t.Password = "guess" },
		"no such user":   func(t *locks.Target) { t.Username = "nobody" },
		"no database":    func(t *locks.Target) { t.Options = json.RawMessage(`{"lock": "advisory", "database": "elsewhere"}`) },
		"no such lock":   func(t *locks.Target) { t.Options = json.RawMessage(`{"lock": "row"}`) },
		"table":          func(t *locks.Target) { t.Options = json.RawMessage(`{"table": "a; DROP TABLE b"}`) },
		"no table":       func(t *locks.Target) { t.Options = json.RawMessage(`{"table": "not_there"}`) },
		"no ca":          func(t *locks.Target) { t.TLS = &locks.TLS{CAFile: "/nowhere/ca.pem"} },
	} {
		asked := target(s, leaseTable)
		edit(&asked)
		if c, err := (postgres.Driver{}).Open(t.Context(), asked); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// TestEnvironmentDoesNotCount: the plan alone says how to connect.
func TestEnvironmentDoesNotCount(t *testing.T) {
	s := servers.NewPostgresTemplate(t).Start(t)
	for name, value := range map[string]string{
		"PGHOST": "elsewhere", "PGPORT": "1", "PGDATABASE": "elsewhere", "PGUSER": "nobody", "PGPASSWORD": "guess",
		"PGOPTIONS": "-c default_transaction_read_only=on", "PGSSLMODE": "require", "PGTARGETSESSIONATTRS": "standby",
	} {
		t.Setenv(name, value)
	}
	for _, options := range []string{leaseTable, advisory} {
		c := open(t, target(s, options))
		g, err := c.Acquire(t.Context(), "k", time.Minute, 0)
		if err == nil {
			err = c.Release(t.Context(), g)
		}
		if err != nil {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// TestTLSWithAPrivateAuthority: nothing is sent to a server that the authority does not
// vouch for, nor to one that speaks plain text.
func TestTLSWithAPrivateAuthority(t *testing.T) {
	t.Parallel()
	certs, others := servers.NewCerts(t), servers.NewCerts(t)
	template := servers.NewPostgresTemplate(t)
	hba := filepath.Join(t.TempDir(), "hba")
	if err := os.WriteFile(hba, []byte("hostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all postgres 127.0.0.1/32 scram-sha-256\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	secure := template.Start(t, "ssl=on", "ssl_cert_file="+certs.Cert, "ssl_key_file="+certs.Key, "hba_file="+hba)
	plain := template.Start(t)
	for _, options := range []string{leaseTable, advisory} {
		good := target(secure, options)
		good.TLS = &locks.TLS{CAFile: certs.CA}
		c := open(t, good)
		g, err := c.Acquire(t.Context(), "k", time.Minute, 0)
		if err == nil {
			err = c.Release(t.Context(), g)
		}
		if err != nil {
			t.Errorf("%s: %v", options, err)
		}
		d, err := postgres.Driver{}.Inspect(t.Context(), good)
		if err != nil || !*d.TLS || d.Auth == nil || !*d.Auth {
			t.Errorf("%s: inspect: %+v, %v", options, d, err)
		}
		for name, bad := range map[string]struct {
			target locks.Target
			tls    locks.TLS
			says   string
		}{
			"another authority": {good, locks.TLS{CAFile: others.CA}, "certificate"},
			"the system's":      {good, locks.TLS{}, "certificate"},
			"another name":      {good, locks.TLS{CAFile: certs.CA, ServerName: "db.example"}, "db.example"},
			"no TLS there":      {target(plain, options), locks.TLS{CAFile: certs.CA}, "TLS"},
		} {
			bad.target.TLS = &bad.tls
			if c, err := (postgres.Driver{}).Open(t.Context(), bad.target); err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Errorf("%s, %s: %v, %v", options, name, c, err)
			}
		}
	}
}
