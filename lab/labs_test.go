package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockaudit/lockaudit/plan"
)

func TestTable(t *testing.T) {
	for _, l := range All() {
		if found, err := Find(l.Name); err != nil || found != l {
			t.Errorf("%s: found %+v, %v", l.Name, found, err)
		}
		if l.Teaches == "" || l.Letter == "" || (l.Exit == 0) != (l.Letter == "A") {
			t.Errorf("%s: the row is not whole: %+v", l.Name, l)
		}
		seen := map[string]bool{}
		for _, n := range l.Nodes() {
			// Linux refuses longer interface names.
			if seen[n.Name] || seen[n.IP] || len(n.Name) > 15 {
				t.Errorf("%s: node %+v", l.Name, n)
			}
			seen[n.Name], seen[n.IP] = true, true
		}
		if want := endpointsOf(l); len(l.Endpoints()) != want {
			t.Errorf("%s: endpoints %s, want %d", l.Name, l.Endpoints(), want)
		}
	}
	if _, err := Find("etcd"); !errors.Is(err, ErrUnknown) {
		t.Errorf("find an unknown lab: %v", err)
	}
}

// endpointsOf is how many a lab should have: a split service hides behind one.
func endpointsOf(l Lab) int {
	if l.Split {
		return 1
	}
	return l.Servers
}

// TestPlansAreValid has lockaudit's own parser read every lab's plan.
func TestPlansAreValid(t *testing.T) {
	for _, l := range All() {
		t.Run(l.Name, func(t *testing.T) {
			p := place{base: "/elsewhere/lab's \"dir\"", path: filepath.Join(t.TempDir(), l.Name)}
			if err := os.Mkdir(p.path, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := p.writePlan(l, "/opt/lock audit/locklab", "/usr/bin/redis-server"); err != nil {
				t.Fatal(err)
			}
			got, _, err := plan.Load(p.plan())
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != l.Name || len(got.Nodes) != len(l.Nodes()) || len(got.Lock.Endpoints) != endpointsOf(l) || got.Signals.Any() != l.Signals {
				t.Errorf("plan: %+v", got)
			}
			via := got.Nodes[0].Via
			want := []string{"/opt/lock audit/locklab", "exec", "--dir", p.base, l.Name, "app-a", "--"}
			if len(via) != len(want) {
				t.Fatalf("via: %q", via)
			}
			for i := range want {
				if via[i] != want[i] {
					t.Errorf("via: %q", via)
				}
			}
		})
	}
}
