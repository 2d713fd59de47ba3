package agent

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/inject/all"
)

var update = flag.Bool("update", false, "rewrite docs/safety.md")

const safetyDocs = "../docs/safety.md"

// promise is a protection besides the matrix, and the test that fails without it.
type promise struct{ what, pkg, test string }

func promises() []promise {
	return []promise{
		{"kill -9 of the guard between any two steps of a fault's life, each journal write among them: nothing remains", "agent", "TestCrashAtEveryStep"},
		{"kill -9 of a fault's holder at any instant of Inject and Revert: a fresh process reverts from the plan", "inject/injecttest", "Run"},
		{"a journal that cannot be written (disk full): nothing is injected", "agent", "TestFullDisk"},
		{"a journal's disk that becomes read-only: nothing more is injected, and what is in effect is reverted", "agent", "TestReadOnlyDisk"},
		{"a log of orders that cannot be written or hangs: nothing is injected", "agent", "TestNoInjectionWithoutLog"},
		{"no revert, deadline or halt waits for the log", "agent", "TestLogThatHangs"},
		{"a halt: everything is reverted, also under a running agent, and nothing is injected until a resume", "agent", "TestHalt"},
		{"a halt in the middle of an injection: the order is refused", "agent", "TestHaltInTheMiddle"},
		{"a halt of a stopped agent and guard: both are killed, the fault is reverted", "agent", "TestHaltOfStoppedAgent"},
		{"the limits of a node's owner hold whatever an order says", "agent", "TestLimits"},
		{"a partition of everything keeps the control connection, SSH and what is protected", "inject/partition", "TestPartitionEverything"},
		{"no fault of an audit leaves the lock servers without a majority, unless it is allowed by name", "audit", "TestQuorumGuard"},
		{"an entry that cannot be read: nothing more is injected, and it is named", "agent", "TestUndecodableEntry"},
		{"a second agent on the same state directory is refused", "agent", "TestOneAgentPerStateDirectory"},
		{"a guard that is slow, and not dead, is left alive", "agent", "TestSlowRevertIsNotKilled"},
		{"an agent whose next guard takes long to recover is left alive", "agent", "TestSlowRecoveryIsNotKilled"},
		{"a drift fault does not move the dead man's switch", "agent", "TestSwitchUnderDrift"},
		{"a deadline does not wait for the slow revert of another fault", "agent", "TestExpireBehindSlowRevert"},
		{"all code of the guard is in memory, and locked there, while something is in effect", "agent", "TestLockedWhileInEffect"},
		{"a journal that another user could write to is not carried out", "agent", "TestStateDirectoryOfAnother"},
		{"kill -9 of 200 injectors of a process's clock: no target dies, and each state is put back", "inject/clock", "TestKilled"},
		{"a skewed clock is right again at the deadline although nobody is left", "inject/clock", "TestLease"},
		{"a client process never outlives its agent", "agent", "TestClientEndsWithAgent"},
		{"a connection of which neither end is told that it is dead, through ssh: the fault is reverted long before its deadline", "agent", "TestSSH"},
		{"an auditor that falls silent loses its faults", "agent", "TestSilentAuditor"},
		{"a fault of a lost connection is confirmed only by an agent that has looked since", "agent", "TestSettle"},
		{"a command that leads to a node asks nobody for a password", "agent", "TestNobodyIsAsked"},
		{"half a copy never becomes the agent", "cmd/lockaudit", "TestPush"},
		{"under systemd, whatever ends or stops agent and guard: both are ended and heal has looked", "cmd/lockaudit-agent", "TestUnitHeals"},
		{"behind a socket, the SSH connection that leads to it is not cut and its processes are not paused", "cmd/lockaudit-agent", "TestUnitAgent"},
		{"the systemd unit has each capability that is needed, and no other", "cmd/lockaudit-agent", "TestUnitNeedsEach"},
		{"a server that could not be started again with all its capabilities is not killed", "cmd/lockaudit-agent", "TestUnitCrash"},
		{"a process that has the pid of a paused one now is never signalled, also by the kernel", "inject/pause", "TestRealReuse"},
		{"the same fault twice on one target: refused, or in effect until the last one ends", "agent", "TestSameFaultTwice"},
		{"two kinds of fault on one process, begun and ended in any order: in the end it runs as before", "agent", "TestOverlap"},
		{"a target that dies under a fault and is started again: the new one is left alone", "agent", "TestTargetRestarts"},
		{"tables, rules, sets, qdiscs, classes, policy rules and routes of others are byte-identical after success, kill -9 at every step and revert from the plan", "inject/partition", "TestConformance"},
		{"the same after a forced failure at every step and an order given up", "inject/partition", "TestForeignObjectsAfterFailure"},
		{"agent and guard run no program while they inject and revert (strace)", "agent", "TestRunsNoProgram"},
		{"random faults and random incidents, several at once: nothing is left (1 000 with LOCKAUDIT_SOAK=1000)", "agent", "TestSoak"},
		{"what a partition with `sever` has cut never arrives, and nobody else's connection is touched", "inject/partition", "TestSever"},
		{"the late write of an application that is observed never arrives, also if it tries again and again", "audit", "TestObserve"},
	}
}

// TestSafetyDocs: docs/safety.md is made from the tables that TestMatrix runs.
func TestSafetyDocs(t *testing.T) {
	want := safetyPage()
	if *update {
		if err := os.WriteFile(safetyDocs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(safetyDocs)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current: run go test ./agent -run SafetyDocs -update", safetyDocs)
	}
	for _, p := range promises() {
		if !declares(t, filepath.Join("..", p.pkg), p.test) {
			t.Errorf("%q: no function %s in %s", p.what, p.test, p.pkg)
		}
	}
}

func TestEveryKindHasARow(t *testing.T) {
	rows := map[string]bool{}
	for _, r := range vmRows() {
		rows[r.kind] = true
	}
	for _, k := range kindCases() {
		rows[k.make(t).kind] = true
	}
	for _, f := range all.Faults(all.Options{}) {
		if !rows[f.Kind()] {
			t.Errorf("%s has no row in docs/safety.md", f.Kind())
		}
	}
}

func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	return function(t, dir, name) != nil
}

// function looks for one in the files of a folder, whatever they are built for.
func function(t *testing.T, dir, name string) *ast.FuncDecl {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == name {
				return fn
			}
		}
	}
	return nil
}

func safetyPage() string {
	var b strings.Builder
	b.WriteString(`# Safety: who ends a fault, whatever happens

Made from the tables in agent/ by ` + "`go test ./agent -run SafetyDocs -update`" + `; do not edit.
` + "`go test ./agent -run Matrix`" + ` makes every cell happen: real agents and guards, one fault of every kind in effect, kill -9 and SIGSTOP.
The cells of degrade and clock-node are made to happen in virtual machines, by ` + "`make test-vm`" + `.

| fault |`)
	for e := agentKilled; e <= rebooted; e++ {
		fmt.Fprintf(&b, " %s |", e)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", int(rebooted)+1) + "\n")
	for _, k := range kindCases() {
		fmt.Fprintf(&b, "| %s |", k.name)
		for e := agentKilled; e <= rebooted; e++ {
			fmt.Fprintf(&b, " %s; %s |", k.cells[e].who, k.cells[e].within)
		}
		b.WriteString("\n")
	}
	for _, r := range vmRows() {
		fmt.Fprintf(&b, "| %s |", r.kind)
		for e := agentKilled; e <= rebooted; e++ {
			fmt.Fprintf(&b, " %s; %s |", r.cells[e].who, r.cells[e].within)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, `
How to read it:

- **at once** is within milliseconds, and does not wait for the deadline; `+"`make bench`"+` has the figures.
- **guard**: it reverts at the deadline, and at the end of its orders, which is what it sees when its agent dies or the agent's auditor does.
- **kernel**: the guard alone holds what keeps these faults in effect (the write end of a pipe, the socket that owns a table, a traced process). When it is gone, however it went, so are they.
- **standby**: a process of its own that waits for the end of its guard, its order or the deadline, and then becomes the server.
- **next guard**: the agent starts one at once, which reverts what it finds in the journal and reads it back. It does so in the cells of **kernel** too: there it finds the fault gone, and says so.
- **agent kills the guard**, %v after a deadline that nobody reported met. Then it is as with a killed guard.
- **kernel kills the guard**, a dead man's switch: a timer of the kernel's, for when nobody is left to act. SIGKILL takes effect on a stopped process. The agent has one as well, %v after the deadline, so that the auditor hears of it, the clients end, and the state directory is free for heal.
- **the lease in the target**: the clock of a process is skewed by code that looks, each time, whether its lease is over. In the cells of **next guard** and **heal** it does the same at the deadline, if nobody was faster; what they do besides is to take the code away.
- **heal** is `+"`lockaudit-agent heal`"+`. The systemd units of deploy/systemd run it after each agent. `+"`lockaudit heal PLAN`"+` and the next agent on the node do the same. Where it says **when it is run**, the tests ran it by hand, without systemd.
- **controller lost**: the auditor is killed. For degrade and clock-node the test closes its connection instead.
- **the hardware's clock**: clock-node does not touch it, and the next boot takes the time from it.
- **reboot**: no process, table or socket of the fault exists any more. The journal lies in /run and is gone too; where it is not, no entry of another boot is carried out, because its pids and names mean others now.
- After "both killed" and "both stopped" the auditor exits with status 4 (a fault may still be in effect) until somebody has looked.

Whatever ended it, "reverted" is said only once the kernel's state has been read back.

Other promises, and the test that fails without each:

| promise | test |
|---|---|
`, grace, agentSlack)
	for _, p := range promises() {
		fmt.Fprintf(&b, "| %s | %s: %s |\n", p.what, p.pkg, p.test)
	}
	return b.String()
}
