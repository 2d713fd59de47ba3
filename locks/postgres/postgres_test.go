package postgres_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/postgres"
)

func TestMain(m *testing.M) {
	if locktest.Child(postgres.Driver{}) {
		return
	}
	os.Exit(m.Run())
}

func target(s *servers.Postgres, options string) locks.Target {
	return locks.Target{
		Backend: "postgres", Endpoints: []string{s.Endpoint},
		Username: servers.PostgresUser, Password: servers.PostgresPassword, Options: json.RawMessage(options),
	}
}

const (
	leaseTable = `{"lock": "lease", "create": true}`
	advisory   = `{"lock": "advisory"}`
)

func conform(t *testing.T, options string) {
	t.Parallel()
	template := servers.NewPostgresTemplate(t)
	locktest.Run(t, locktest.Subject{Driver: postgres.Driver{}, Start: func(tb testing.TB) (locks.Target, locktest.Server) {
		s := template.Start(tb)
		return target(s, options), s
	}})
}

func TestConformanceOfLease(t *testing.T)    { conform(t, leaseTable) }
func TestConformanceOfAdvisory(t *testing.T) { conform(t, advisory) }
