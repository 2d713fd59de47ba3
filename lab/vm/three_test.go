//go:build vm

package vm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/lab/vm"
	"github.com/lockaudit/lockaudit/lab/vm/wire"
)

// TestVMThreeMachines: an etcd on three machines, lock clients on two of them and the
// resource on the third; the five steps across machines, with a pause and with a real
// partition, and once more while the clock of one member's machine is an hour ahead.
func TestVMThreeMachines(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	dir := t.TempDir()
	built := vm.BuildTest(t, "cmd/lockaudit", "cmd/lockaudit-agent", "cmd/locklab", "lab/vm/exec")
	cable := vm.NewNet()
	var machines []*vm.VM
	var cluster []string
	for i := range 3 {
		cluster = append(cluster, fmt.Sprintf("n%d=http://10.77.0.%d:2380", i+1, i+1))
	}
	for i, ip := range []string{"10.77.0.1/24", "10.77.0.2/24", "10.77.0.3/24,10.77.0.4/24"} {
		v := vm.BootTest(t, vm.Machine{
			Name: fmt.Sprintf("n%d", i+1), MemoryMiB: 768, Programs: built.Programs(), Net: cable, IP: ip,
			Modules: []string{"nf_tables", "nft_fwd_netdev", "nft_queue"},
		})
		machines = append(machines, v)
		start(t, v, "/bin/locklab", "serve", "etcd", "--name", v.Name, "--ip", fmt.Sprintf("10.77.0.%d", i+1), "--data", "/tmp/etcd", "--cluster", strings.Join(cluster, ","))
	}
	start(t, machines[2], "/bin/locklab", "serve", "ledger", "--listen", "10.77.0.4:8080", "--data", "/tmp/ledger", "--variant", "ordered")

	for i, v := range machines {
		healthy(ctx, t, v, fmt.Sprintf("10.77.0.%d:2379", i+1))
	}
	plan := filepath.Join(dir, "plan.yaml")
	via := func(v *vm.VM) string { return strings.Join(built.Via(v), ", ") }
	if err := os.WriteFile(plan, fmt.Appendf(nil, `
name: three-machines
lock: {backend: etcd, endpoints: [10.77.0.1:2379, 10.77.0.2:2379, 10.77.0.3:2379], key: /locks/billing, ttl: 5s, purpose: correctness}
resource: {kind: http, url: "http://10.77.0.4:8080/entries/{row}", token_header: X-Fencing-Token}
nodes:
  - {name: a, roles: [client, lock], via: [%s]}
  - {name: b, roles: [client, lock], via: [%s]}
  - {name: c, roles: [lock], via: [%s]}
`, via(machines[0]), via(machines[1]), via(machines[2])), 0o644); err != nil {
		t.Fatal(err)
	}
	audit(ctx, t, built["lockaudit"], dir, plan)

	c, err := agent.Dial(ctx, agent.Command{Argv: built.Via(machines[1], "LOCKAUDIT_STATE=/run/clock", "/bin/lockaudit-agent", "--allow-node-clock")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.Inject(ctx, inject.Spec{Kind: "clock-node", For: 10 * time.Minute, Params: []byte(`{"offset":3600000000000}`)})
	if err != nil {
		t.Fatal(err)
	}
	audit(ctx, t, built["lockaudit"], dir, plan)
	e, err := c.Revert(ctx, f.ID)
	if err != nil || !strings.Contains(e.Seen, "stepped by -1h0m0s") {
		t.Errorf("revert of the clock: %+v, %v", e, err)
	}
}

// healthy waits until an etcd has a leader and serves.
func healthy(ctx context.Context, t *testing.T, v *vm.VM, at string) {
	t.Helper()
	for {
		out, err := v.Run(ctx, "get", at, "/health")
		if err == nil && strings.Contains(out, `"health":"true"`) {
			return
		}
		if ctx.Err() != nil || errors.Is(err, vm.ErrDown) {
			t.Fatalf("etcd at %s: %s, %v", at, out, err)
		}
	}
}

// start starts a server, whose output is shown if the test fails.
func start(t *testing.T, v *vm.VM, argv ...string) {
	t.Helper()
	var log bytes.Buffer
	p, err := v.Start(wire.Program{Argv: argv}, &log, &log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.Kill()
		_, _ = p.Wait(context.Background())
		if t.Failed() {
			b := log.Bytes()
			t.Logf("%s said on %s:\n%s", argv, v.Name, b[max(0, len(b)-3000):])
		}
	})
}

// audit runs the two probes of the five steps and checks the report.
func audit(ctx context.Context, t *testing.T, lockaudit, dir, plan string) {
	t.Helper()
	start := time.Now()
	cmd := exec.CommandContext(ctx, lockaudit, "audit", plan, "-f", "json", "--runs", filepath.Join(dir, "runs"),
		"--trials", "2", "--probes", "inspect-deployment,pause-holder-past-ttl,partition-holder-past-ttl")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	var report struct {
		Grade    struct{ Letter string }
		Findings []struct{ Item, Outcome, Summary string }
		Probes   []struct {
			Name, Status, Err string
			Completed         int
		}
	}
	if jsonErr := json.Unmarshal(out.Bytes(), &report); jsonErr != nil {
		t.Fatalf("audit: %v, %v: %s%s", err, jsonErr, out.String(), log.String())
	}
	t.Logf("graded %s in %v", report.Grade.Letter, time.Since(start).Round(time.Second))
	if report.Grade.Letter != "B" { // for want of TLS
		t.Errorf("graded %s, want B: %s", report.Grade.Letter, log.String())
	}
	passed := map[string]string{}
	for _, f := range report.Findings {
		if f.Outcome == "pass" {
			passed[f.Item] = f.Summary
		}
	}
	if s := passed["fencing_enforced"]; !strings.Contains(s, "partition") || !strings.Contains(s, "pause") {
		t.Errorf("fencing is not shown after a pause and a partition: %+v", report.Findings)
	}
	if passed["no_double_grant"] == "" {
		t.Errorf("no double grant does not pass: %+v", report.Findings)
	}
	for _, p := range report.Probes {
		if p.Completed == 0 {
			t.Errorf("%s: %s, no trial completed: %s\n%s", p.Name, p.Status, p.Err, log.String())
		}
	}
}
