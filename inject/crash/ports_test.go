package crash_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/conformance"
)

// TestPortOfOneRole: the server held another port besides, which it does not take again,
// as ZooKeeper's old leader does not. The port by which it was named is what counts.
func TestPortOfOneRole(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, exe)
	leads := t.TempDir() + "/leads"
	if err := os.WriteFile(leads, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t, exec.Command(exe, "serve-leading", s.addr, conformance.Address(t), leads))
	f := newFault()
	p := prepare(t, f, s.spec(0, nil), "role")
	before := s.pid()
	if err := os.Remove(leads); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Inject(ctx(t), p); err != nil {
		t.Fatal(err)
	}
	if e, err := f.Revert(ctx(t), p); err != nil || !strings.HasSuffix(e.Seen, ", listening on "+s.addr) {
		t.Errorf("revert: %+v, %v", e, err)
	}
	if now := s.pid(); now == 0 || now == before {
		t.Errorf("process %d serves, before the crash it was %d", now, before)
	}
}
