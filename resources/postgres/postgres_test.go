package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/postgres"
	"github.com/lockaudit/lockaudit/resources/resourcetest"
)

func target(s *servers.Postgres, options string) resources.Target {
	return resources.Target{
		Kind: "postgres", Endpoints: []string{s.Endpoint},
		Username: servers.PostgresUser, Password: servers.PostgresPassword, Options: json.RawMessage(options),
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	template := servers.NewPostgresTemplate(t)
	resourcetest.Run(t, resourcetest.Subject{Kind: postgres.Kind{}, Start: func(tb testing.TB) (resources.Target, resourcetest.Server) {
		s := template.Start(tb)
		return target(s, `{"create": true}`), s
	}})
}

// TestWhatDoesNotFence: the two variants that are no fencing are found out by exactly
// what they lack. Check-then-write is right for as long as nobody comes at the same
// moment.
func TestWhatDoesNotFence(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	tables := 0
	for fencing, failing := range map[string][]string{
		"check-then-write": {concurrent},
		"none": {
			"a stale token is refused without effect", "missing and malformed tokens are refused without effect",
			"rows of a scope share one mark", "large numbers are compared exactly", "the mark outlives the client",
			concurrent,
		},
	} {
		subject := resourcetest.Subject{Kind: postgres.Kind{}, Start: func(testing.TB) (resources.Target, resourcetest.Server) {
			tables++
			return target(s, fmt.Sprintf(`{"create": true, "fencing": %q, "table": "t%d"}`, fencing, tables)), s
		}}
		for _, c := range resourcetest.Checks() {
			if strings.Contains(c.Name, "dies") {
				continue // the server is everybody's here
			}
			err := c.Try(t, subject)
			for try := 1; err == nil && c.Name == concurrent && try < tries; try++ {
				err = c.Try(t, subject) // whether two writes meet is chance
			}
			if fails := slices.Contains(failing, c.Name); (err != nil) != fails {
				t.Errorf("%s: %s: got %v, want failure %t", fencing, c.Name, err, fails)
			}
		}
	}
}

// concurrent is the check in which writers race, and tries how often it is repeated
// until they meet.
const (
	concurrent = "concurrent writes never leave old after new"
	tries      = 10
)

func TestTargetIsChecked(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	for name, edit := range map[string]func(*resources.Target){
		"no endpoint":    func(t *resources.Target) { t.Endpoints = nil },
		"two endpoints":  func(t *resources.Target) { t.Endpoints = []string{"a:1", "b:1"} },
		"no port":        func(t *resources.Target) { t.Endpoints = []string{"localhost"} },
		"no username":    func(t *resources.Target) { t.Username = "" },
		"wrong password": func(t *resources.Target) { t.Password = "guess" },
		"no table":       func(t *resources.Target) { t.Options = nil },
		"table":          func(t *resources.Target) { t.Options = json.RawMessage(`{"table": "a; DROP TABLE b"}`) },
		"fencing":        func(t *resources.Target) { t.Options = json.RawMessage(`{"fencing": "equality"}`) },
		"unknown option": func(t *resources.Target) { t.Options = json.RawMessage(`{"no_such_option": 1}`) },
		"no ca":          func(t *resources.Target) { t.Options = json.RawMessage(`{"ca": "/nowhere/ca.pem"}`) },
	} {
		asked := target(s, `{"create": true}`)
		edit(&asked)
		if r, err := (postgres.Kind{}).Open(t.Context(), asked); !errors.Is(err, resources.ErrRefused) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestTLSWithAPrivateAuthority(t *testing.T) {
	t.Parallel()
	certs, others := servers.NewCerts(t), servers.NewCerts(t)
	hba := filepath.Join(t.TempDir(), "hba")
	if err := os.WriteFile(hba, []byte("hostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all postgres 127.0.0.1/32 scram-sha-256\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := servers.NewPostgresTemplate(t).Start(t, "ssl=on", "ssl_cert_file="+certs.Cert, "ssl_key_file="+certs.Key, "hba_file="+hba)
	r, err := postgres.Kind{}.Open(t.Context(), target(s, `{"create": true, "ca": "`+certs.CA+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Write(t.Context(), resources.Entry{Row: "s/r", Token: history.OrderedToken(1), Value: "v"}); err != nil {
		t.Error(err)
	}
	if r, err := (postgres.Kind{}).Open(t.Context(), target(s, `{"create": true, "ca": "`+others.CA+`"}`)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another authority: %v, %v", r, err)
	}
}
