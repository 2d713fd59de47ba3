package pause

import (
	"errors"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

func TestTraces(t *testing.T) {
	for _, c := range []struct {
		caps  capabilities
		scope string
		want  string
	}{
		{1 << unix.CAP_SYS_PTRACE, "", "yes"},
		{1 << unix.CAP_SYS_PTRACE, "1", "yes"},
		{1 << unix.CAP_SYS_PTRACE, "2", "yes"},
		{^capabilities(0), "3", "no, kernel.yama.ptrace_scope is 3"},
		{0, "", "yes, of the same user's processes only: no CAP_SYS_PTRACE"},
		{0, "0", "yes, of the same user's processes only: no CAP_SYS_PTRACE"},
		{^capabilities(1 << unix.CAP_SYS_PTRACE), "1", "no, kernel.yama.ptrace_scope is 1 and CAP_SYS_PTRACE is missing"},
		{0, "2", "no, kernel.yama.ptrace_scope is 2 and CAP_SYS_PTRACE is missing"},
	} {
		if got := traces(c.caps, c.scope); got != c.want {
			t.Errorf("capabilities %x, scope %q: %q, want %q", uint64(c.caps), c.scope, got, c.want)
		}
	}
}

// TestSupportPerMethod: each is answered, and the freezer as its own preparation does.
func TestSupportPerMethod(t *testing.T) {
	ok, why := New().Support()
	said := strings.Split(why, "; ")
	if !ok || len(said) < 3 || !strings.HasPrefix(said[0], "sigstop: ") || !strings.HasPrefix(said[1], "ptrace: ") || !strings.HasPrefix(said[2], "freezer: ") {
		t.Fatalf("%v, %q", ok, why)
	}
	_, err := target.CgroupMount()
	if no := strings.HasPrefix(said[2], "freezer: no, "); errors.Is(err, inject.ErrUnsupported) && !no {
		t.Errorf("%q, and cgroup v2: %v", said[2], err)
	}
	if freezes(0) == "yes" {
		t.Error("the freezer is usable without any capability")
	}
}
