package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// lookAtPostgresWithTLS: PostgreSQL speaks TLS on its one port, and each way to get it
// wrong has its own answer.
func lookAtPostgresWithTLS(t *testing.T, bin string) {
	dir := t.TempDir()
	privateAuthority(t, dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Chmod(file("server-key.pem"), 0o600); err != nil { // or it does not start
		t.Fatal(err)
	}
	hba := file("hba")
	if err := os.WriteFile(hba, []byte("hostssl all guarded 127.0.0.1/32 scram-sha-256\nhostssl all app 127.0.0.1/32 cert\nhost all postgres,peek 127.0.0.1/32 scram-sha-256\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	template := servers.NewPostgresTemplate(t)
	bare := template.Start(t)
	s := template.Start(t, "hba_file="+hba, "ssl=on", "ssl_cert_file="+file("server.pem"), "ssl_key_file="+file("server-key.pem"), "ssl_ca_file="+file("ca.pem"))
	admin := postgresSession(t, s, "postgres", "")
	for _, user := range []string{"app", "peek", "guarded"} {
		carryOutGrants(t, admin, []string{"CREATE ROLE lockaudit LOGIN PASSWORD 'PASSWORD'"}, user)
	}
	l := newLooker(t, bin, "postgres://peek@"+s.Endpoint+"/postgres")

	if status, out := l.init(t, "--ca", file("ca.pem")); status != exitInconclusive {
		t.Fatalf("with the authority: status %d\n%s", status, out)
	}
	if plan := l.readPlan(t); !strings.Contains(plan, `tls: {ca: "`+file("ca.pem")) {
		t.Errorf("the plan does not say how TLS is spoken:\n%s", plan)
	}
	if status, out := l.inspect(t); status != exitFail || !strings.Contains(out, "no letter") {
		t.Errorf("inspect: status %d\n%s", status, out)
	}
	for _, tt := range []struct {
		hint, url string
		args      []string
	}{
		{"hint: --ca names the file", "peek@" + s.Endpoint + "/postgres?sslmode=verify-full", nil},
		{"hint: --server-name", "peek@" + s.Endpoint + "/postgres", []string{"--ca", file("ca.pem"), "--server-name", "elsewhere"}},
		{"hint: it asks for TLS", "guarded@" + s.Endpoint + "/postgres", nil},
		{"hint: it asks for a client certificate", "app@" + s.Endpoint + "/postgres", []string{"--ca", file("ca.pem")}},
		{"hint: it speaks no TLS", "peek@" + bare.Endpoint + "/postgres", []string{"--ca", file("ca.pem")}},
		{"hint: check the user", "postgres@" + bare.Endpoint + "/postgres", nil},
		{"hint: the database is named in the URL", "peek@" + s.Endpoint + "/nowhere", nil},
		{"hint: postgres://USER@HOST", s.Endpoint + "/postgres", nil},
		{"hint: ?sslmode=verify-full", "peek@" + s.Endpoint + "/postgres?sslmode=prefer", nil},
	} {
		wrong := &looker{bin: l.bin, dir: l.dir, url: "postgres://" + tt.url}
		if status, out := wrong.init(t, tt.args...); status != exitCouldNotRun && status != exitUsage || !strings.Contains(out, tt.hint) {
			t.Errorf("%s %v: status %d, want %q\n%s", tt.url, tt.args, status, tt.hint, out)
		}
	}
}
