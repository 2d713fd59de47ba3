package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/all"
)

// TestErrorsSayItOnce: fault, guard, agent and auditor each know what was ordered, and a
// person reads it once.
func TestErrorsSayItOnce(t *testing.T) {
	c, ctx := dial(t, testCommand(t, stateDir(t))), testCtx(t)
	for _, f := range all.Faults(all.Options{}) {
		kind := f.Kind()
		for name, s := range map[string]inject.Spec{
			"params of no kind": {Kind: kind, For: time.Second, Params: []byte(`{"no_such_parameter":1}`)},
			"no deadline":       {Kind: kind, Params: []byte(`{}`)},
		} {
			for _, err := range []error{second(c.Prepare(ctx, s)), second(c.Inject(ctx, s))} {
				saysOnce(t, kind+", "+name, err, "prepare "+kind, kind)
			}
		}
	}
	saysOnce(t, "unknown kind", second(c.Inject(ctx, inject.Spec{Kind: "nonsense", For: 1})), "inject nonsense", "inject")
	err := second(c.Revert(ctx, "000000000000"))
	saysOnce(t, "unknown fault", err, "revert 000000000000", "000000000000")
	if !errors.Is(err, ErrUnknownFault) {
		t.Errorf("%v, want %v", err, ErrUnknownFault)
	}
}

// saysOnce checks that an error begins so, and has a word only there.
func saysOnce(t *testing.T, what string, err error, begins, word string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), begins+": ") || strings.Count(err.Error(), word) != 1 {
		t.Errorf("%s: %v, which should begin with %q and have %q only there", what, err, begins, word)
	}
}
