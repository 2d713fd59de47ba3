package agent

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// hush is a short silence for agents that should notice one.
const hush = "2s"

// TestSilentAuditor: an auditor that greets and then says nothing, over a connection of
// which no end is seen, loses its faults; so does one that is stopped.
func TestSilentAuditor(t *testing.T) {
	t.Parallel()
	target := victim(t)
	dir := stateDir(t)
	c := testCommand(t, dir)
	c.Env = append(c.Env, testHush+"="+hush)
	conn := dial(t, c)
	f := mustInject(t, conn, target, time.Hour)
	conn.rest() // nothing more is said; nothing else ends
	within(t, "the target runs", func() bool { return !stopped(target) })
	<-conn.Lost()
	if n := wantNotice(t, conn, NoticeReverted, f.ID); n.Why != whyEnd {
		t.Errorf("notice %+v", n)
	}
	// It was heard, so it is confirmed; and the agent says why it ended.
	if ids := conn.Unconfirmed(); len(ids) != 0 {
		t.Errorf("unconfirmed: %v", ids)
	}
	if err := conn.Close(); err == nil {
		t.Error("closed without a word of the silence")
	}
	if left := journaled(t, dir); len(left) != 0 {
		t.Errorf("journal: %v", left)
	}
}

// TestHeardAuditor: one that has nothing to order is no silent one, however long.
func TestHeardAuditor(t *testing.T) {
	t.Parallel()
	target := victim(t)
	c := testCommand(t, stateDir(t))
	c.Env = append(c.Env, testHush+"=5s")
	conn := dial(t, c)
	mustInject(t, conn, target, time.Hour)
	heard := conn.link.ear.heard.Load()
	within(t, "more than a silence passes", func() bool { return conn.link.ear.heard.Load() > heard+pingEvery+1 })
	if !stopped(target) {
		t.Error("the fault was ended")
	}
}

// TestSilentAgent: the auditor gives a connection up on which nothing comes, and does not
// say that its fault was reverted.
func TestSilentAgent(t *testing.T) {
	t.Parallel()
	target := victim(t)
	dir := stateDir(t)
	c := testCommand(t, dir)
	c.Env = append(c.Env, testHush+"="+hush)
	conn := dial(t, c)
	f := mustInject(t, conn, target, time.Hour)
	kill(conn.Hello().PID, syscall.SIGSTOP)
	<-conn.Lost()
	if _, err := conn.Revert(testCtx(t), f.ID); !errors.Is(err, ErrClosed) {
		t.Errorf("revert: %v, want ErrClosed", err)
	}
	if ids := conn.Unconfirmed(); len(ids) != 1 || ids[0] != f.ID {
		t.Errorf("unconfirmed: %v, want %s", ids, f.ID)
	}
	// The agent itself was its transport here, and was killed; its guard sees that.
	within(t, "the target runs", func() bool { return !stopped(target) })
	mustHeal(t, dir)
}
