package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// incident is a column of docs/safety.md.
type incident int

const (
	agentKilled incident = iota
	guardKilled
	bothKilled
	agentStopped
	guardStopped
	bothStopped
	controllerLost
	rebooted
)

func (e incident) String() string {
	return [...]string{"agent killed", "guard killed", "both killed", "agent stopped", "guard stopped", "both stopped", "controller lost", "reboot"}[e]
}

// deadline of the faults: an hour where it must not be what ends them.
func (e incident) deadline() time.Duration {
	if e == agentStopped || e == guardStopped || e == bothStopped {
		return 2 * time.Second
	}
	return time.Hour
}

// happen does it to agent and guard, by kill -9 and SIGSTOP.
func (e incident) happen(a *auditor) {
	h := a.hello
	switch e {
	case agentKilled:
		kill(h.PID, syscall.SIGKILL)
	case guardKilled:
		kill(h.GuardPID, syscall.SIGKILL)
	case bothKilled, rebooted:
		// At once: the guard might still revert, or the agent start another one.
		stop(a.t, h.PID)
		kill(h.GuardPID, syscall.SIGKILL)
		kill(h.PID, syscall.SIGKILL)
	case agentStopped:
		kill(h.PID, syscall.SIGSTOP)
	case guardStopped:
		kill(h.GuardPID, syscall.SIGSTOP)
	case bothStopped:
		kill(h.PID, syscall.SIGSTOP)
		kill(h.GuardPID, syscall.SIGSTOP)
	case controllerLost:
		kill(a.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// healer is a cell: who ends the fault, and within what.
type healer struct {
	who, within string
	// waits: the fault stays until somebody runs heal.
	waits bool
}

// The healers. Times after the deadline are the constants that the code uses.
var (
	byKernel      = healer{who: "kernel", within: "at once"}
	byGuard       = healer{who: "guard", within: "at once"}
	atDeadline    = healer{who: "guard", within: "at the deadline"}
	byNextGuard   = healer{who: "next guard", within: "at once"}
	agentKills    = healer{who: "agent kills the guard", within: after(grace)}
	kernelKills   = healer{who: "kernel kills the guard", within: after(guardSlack)}
	elements      = healer{who: "kernel: elements time out", within: "at the deadline"}
	leaseEnds     = healer{who: "the lease in the target", within: "at the deadline"}
	byStandby     = healer{who: "standby", within: "at once"}
	standbyInTime = healer{who: "standby", within: "at the deadline"}
	byHeal        = healer{who: "heal", within: "systemd: at once", waits: true}
	killsThenHeal = healer{who: "kernel kills both, then heal", within: "systemd: " + after(agentSlack), waits: true}
	nothingLeft   = healer{who: "nothing is left", within: "nothing is touched"}
)

func after(d time.Duration) string { return fmt.Sprintf("deadline + %v", d) }

// cells is a row.
type cells map[incident]healer

func (c cells) with(e incident, h healer) cells {
	c = maps.Clone(c)
	c[e] = h
	return c
}

// kernelUndoes is the row of a kind that the guard's death alone ends.
func kernelUndoes() cells {
	return cells{
		agentKilled: byGuard, guardKilled: byKernel, bothKilled: byKernel,
		agentStopped: atDeadline, guardStopped: agentKills, bothStopped: kernelKills,
		controllerLost: byGuard, rebooted: nothingLeft,
	}
}

// standbyUndoes is the row of a kind with a process of its own that waits for the end
// of its guard, or for the deadline.
func standbyUndoes() cells {
	return kernelUndoes().with(guardKilled, byStandby).with(bothKilled, byStandby).
		with(guardStopped, standbyInTime).with(bothStopped, standbyInTime)
}

// journalUndoes is the row of a kind that outlives its guard.
func journalUndoes() cells {
	return kernelUndoes().with(guardKilled, byNextGuard).with(bothKilled, byHeal).with(bothStopped, killsThenHeal)
}

// TestMatrix makes every cell of docs/safety.md happen: one agent has a fault of
// every kind in effect, and then it happens to all of them.
func TestMatrix(t *testing.T) {
	t.Parallel()
	for e := agentKilled; e <= rebooted; e++ {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			m := newMatrix(t, e)
			m.begin()
			if e == rebooted {
				m.reboot()
				return
			}
			for _, r := range m.rows {
				if !r.cells[e].waits {
					m.heals(r)
				}
			}
			m.end()
		})
	}
}

// heals waits for the end of a fault. One that does not come says what was to be seen
// instead, and what agent and guard do.
func (m *matrix) heals(r matrixRow) {
	if err := eventually(r.name+" is ended by "+r.cells[m.what].who, r.healed); err != nil {
		h := m.auditor.hello
		kill(h.GuardPID, syscall.SIGQUIT) // its goroutines, on stderr
		m.t.Fatalf("%v: now\n%s\nbefore\n%s\nagent %s, guard %s", err, r.snapshot(), r.before, state(h.PID), state(h.GuardPID))
	}
}

func state(pid int) string {
	s, err := inject.ReadStat(pid)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d (%s) in state %c", pid, s.Comm, s.State)
}

type matrix struct {
	t       *testing.T
	what    incident
	dir     string
	auditor *auditor
	rows    []matrixRow
}

type matrixRow struct {
	kindCase
	subject
	before string
	fault  Fault
}

func (r matrixRow) healed() bool { return r.snapshot() == r.before }

func newMatrix(t *testing.T, e incident) *matrix {
	m := &matrix{t: t, what: e, dir: stateDir(t)}
	for _, k := range kindCases() {
		r := matrixRow{kindCase: k, subject: k.make(t)}
		r.before = r.snapshot()
		m.rows = append(m.rows, r)
	}
	return m
}

// begin has a fault of every kind in effect, and then it happens, before the first of
// them is over: on a busy machine that takes another try.
func (m *matrix) begin() {
	t := m.t
	for d := m.what.deadline(); ; d *= 3 {
		m.auditor = startAuditor(t, m.dir)
		for i := range m.rows {
			m.rows[i].fault = m.auditor.inject(m.rows[i].spec(d))
		}
		for _, r := range m.rows {
			if r.healed() && rawNow() < r.fault.Deadline {
				t.Fatalf("%s: the fault is not to be seen: %s", r.name, r.before)
			}
		}
		m.what.happen(m.auditor)
		if late := rawNow() - m.rows[0].fault.Deadline; late < 0 {
			return
		} else if d > time.Minute {
			t.Fatalf("%v too late after %v", late, d)
		}
		kill(m.auditor.hello.PID, syscall.SIGCONT)
		kill(m.auditor.hello.GuardPID, syscall.SIGCONT)
		_ = m.auditor.close()
		mustHeal(t, m.dir)
	}
}

// end is what follows: where the agent lives on, it forgets the faults by itself,
// otherwise heal finds what is left in the journal.
func (m *matrix) end() {
	t := m.t
	empty := func() bool { return len(journaled(t, m.dir)) == 0 }
	switch m.what {
	case guardKilled, agentStopped, guardStopped:
		within(t, "the journal is empty", empty)
		m.auditor.agent.signal(syscall.SIGCONT)
		// On a machine so slow the kernel may rightly have taken the stopped agent for dead.
		slow := m.what == agentStopped && rawNow() > m.rows[0].fault.Deadline+agentSlack
		if err := m.auditor.close(); err != nil && !slow {
			t.Errorf("the auditor ends with %v", err)
		}
	case agentKilled, controllerLost:
		within(t, "the guard and the agent have ended", m.auditor.keepersEnded)
		if !empty() {
			t.Errorf("journal: %v", journaled(t, m.dir))
		}
	case bothKilled, bothStopped:
		within(t, "both have ended", m.auditor.keepersEnded)
		for _, r := range m.rows {
			if r.cells[m.what].waits && r.healed() {
				t.Errorf("%s ended without heal, so the table says too little", r.name)
			}
		}
		if done := mustHeal(t, m.dir); len(done) != len(m.rows) || !empty() {
			t.Errorf("heal: %+v, journal %v", done, journaled(t, m.dir))
		}
	}
	for _, r := range m.rows {
		if !r.healed() {
			t.Errorf("%s: in the end\n%s\nbefore\n%s", r.name, r.snapshot(), r.before)
		}
	}
}

// reboot: the journal is of another boot, and what looks like the faults is
// somebody else's. (The journal lies in /run, so normally it is gone as well.)
func (m *matrix) reboot() {
	t := m.t
	within(t, "both have ended", m.auditor.keepersEnded)
	for _, r := range m.rows {
		m.ofAnotherBoot(r)
	}
	var foreign []string
	for _, r := range m.rows {
		r.alike(r.fault.ID)
		foreign = append(foreign, r.snapshot())
	}
	c := dial(t, testCommand(t, m.dir))
	for _, r := range c.Hello().Recovered {
		if r.Outcome != OutcomeRebooted {
			t.Errorf("recovered: %+v", r)
		}
	}
	if n := len(c.Hello().Recovered); n != len(m.rows) || len(journaled(t, m.dir)) != 0 {
		t.Errorf("%d of %d recovered, journal %v", n, len(m.rows), journaled(t, m.dir))
	}
	for i, r := range m.rows {
		if now := r.snapshot(); now != foreign[i] {
			t.Errorf("%s: a plan of another boot changed\n%s\nto\n%s", r.name, foreign[i], now)
		}
	}
}

// ofAnotherBoot changes a fault's entry in the journal, once the fault is over.
func (m *matrix) ofAnotherBoot(r matrixRow) {
	t := m.t
	path := filepath.Join(m.dir, "faults", r.fault.ID+".json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var x entry
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	if r.cells[bothKilled].waits {
		// A reboot would have taken the target along; a revert stands for that.
		if _, err := byKind(faults())[r.kind].Revert(testCtx(t), x.Plan); err != nil {
			t.Fatal(err)
		}
	}
	within(t, r.name+" is over", r.healed)
	x.Plan.BootID = "00000000-0000-0000-0000-000000000000"
	if b, err = json.Marshal(x); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
