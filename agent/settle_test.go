package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// TestSettle: what a later agent's greeting says of the faults of a lost connection.
func TestSettle(t *testing.T) {
	was := Hello{BootID: "b", StateDir: "/s"}
	failed := []Recovered{{ID: "1", Kind: "pause", Outcome: OutcomeFailed, Err: "no"}, {ID: "2", Kind: "pause"}}
	tests := []struct {
		name  string
		later Hello
		lost  bool
		want  []string // what stays unconfirmed
	}{
		{"the journal was empty", Hello{BootID: "b", StateDir: "/s"}, true, nil},
		{"one could not be reverted", Hello{BootID: "b", StateDir: "/s", Recovered: failed}, true, []string{"1"}},
		{"an entry cannot be read", Hello{BootID: "b", StateDir: "/s", Recovered: []Recovered{{ID: "9", Outcome: OutcomeFailed}}}, true, []string{"1", "2", "3", "unanswered hold"}},
		{"another state directory", Hello{BootID: "b", StateDir: "/t"}, true, []string{"1", "2", "3", "unanswered hold"}},
		{"the machine was booted anew", Hello{BootID: "c", StateDir: "/t"}, true, nil},
		{"not lost", Hello{BootID: "b", StateDir: "/s"}, false, []string{"1", "2", "3", "unanswered hold"}},
	}
	for _, tt := range tests {
		c := &Conn{
			hello: was, waited: make(chan struct{}), active: map[string]bool{"1": true, "2": true, "4": false},
			failed: map[string]string{"3": "a failed revert"}, unanswered: []string{"hold"},
		}
		if tt.lost {
			close(c.waited)
		}
		c.Settle(tt.later)
		if got := c.Unconfirmed(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: unconfirmed %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestLook: whoever is looked at beside a running agent is none: it answers, takes no
// order that changes anything, and heals nothing.
func TestLook(t *testing.T) {
	t.Parallel()
	target := victim(t)
	dir := stateDir(t)
	agent := dial(t, testCommand(t, dir))
	f := mustInject(t, agent, target, time.Hour)
	c := testCommand(t, dir)
	c.Argv = append(c.Argv, "look")
	look, err := Dial(testCtx(t), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := look.Examine(testCtx(t))
	if err != nil || len(h.Agents) == 0 || len(h.InEffect) != 1 || h.InEffect[0].ID != f.ID || len(h.Kinds) == 0 {
		t.Errorf("%+v, %v", h, err)
	}
	if o, err := look.Clock(testCtx(t)); err != nil || o.Raw <= 0 {
		t.Errorf("clock: %+v, %v", o, err)
	}
	if _, err := look.Inject(testCtx(t), pauseSpec(target, time.Second)); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("inject: %v, want ErrRefused", err)
	}
	if _, err := look.Start(testCtx(t), ProcSpec{Name: "a", Argv: []string{"true"}}); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("start: %v, want ErrRefused", err)
	}
	if err := look.Close(); err != nil {
		t.Error(err)
	}
	if !stopped(target) {
		t.Error("the fault was ended")
	}
}
