package nodeclock_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
	"github.com/lockaudit/lockaudit/lab/vm"
)

// TestMain: the holders of the conformance suite may disturb the clock only in a
// virtual machine.
func TestMain(m *testing.M) {
	injecttest.Main(m, func() inject.Fault { return nodeclock.New(nodeclock.Options{Allow: vm.Inside()}) })
}

// TestNotAllowed: without the agent's permission neither step of the way does
// anything, on whatever machine this runs.
func TestNotAllowed(t *testing.T) {
	f := nodeclock.New(nodeclock.Options{})
	if ok, why := f.Support(); ok || !strings.Contains(why, "--allow-node-clock") {
		t.Errorf("support: %v, %q", ok, why)
	}
	s := inject.Spec{Kind: nodeclock.Kind, For: time.Second, Params: []byte(`{"offset":1000000000}`)}
	if _, err := f.Prepare(t.Context(), s); !errors.Is(err, inject.ErrUnsupported) {
		t.Errorf("prepare: %v, want %v", err, inject.ErrUnsupported)
	}
	boot, err := inject.BootID()
	if err != nil {
		t.Fatal(err)
	}
	p := inject.Plan{ID: "t", Spec: s, BootID: boot, Undo: []byte(`{"anchor":{"real":1,"raw":1,"asleep":0},"timex":{"freq":0,"tick":10000,"status":0,"max_error":0,"est_error":0}}`)}
	if _, err := f.Inject(t.Context(), p); !errors.Is(err, inject.ErrUnsupported) {
		t.Errorf("inject: %v, want %v", err, inject.ErrUnsupported)
	}
}

func TestBadParams(t *testing.T) {
	f := nodeclock.New(nodeclock.Options{})
	for _, p := range []string{
		``, `{}`, `{"offset":0}`, `{"offset":1,"x":1}`, `{"offset":604800000000001}`, `{"offset":-604800000000001}`, `{"drift_ppm":100001}`,
		`{"drift_ppm":-100001}`, `{"offset":1000,"strobe":1}`, `{"strobe":1000000000}`, `{"offset":1000,"drift_ppm":1,"strobe":1000000000}`,
	} {
		if _, err := f.Prepare(t.Context(), inject.Spec{Kind: nodeclock.Kind, For: time.Second, Params: json.RawMessage(p)}); err == nil || !strings.Contains(err.Error(), "params:") {
			t.Errorf("prepare of %s: %v", p, err)
		}
	}
	if _, err := json.Marshal(nodeclock.Params{Drift: math.NaN()}); err == nil {
		t.Error("a rate that is no number can be ordered")
	}
}
