package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// toll is one condition: a cable of its own, with its rules in place all the time.
type toll struct {
	what    string
	wire    *cable
	in, out []float64 // ns a packet, one value a round
}

// partitionCost measures what a delivered packet costs while others are cut off.
//
// Each condition has a cable of its own, so that nothing is set up between the
// measurements; short bursts take turns on one core, and each is compared with the
// one without rules of the same round. A second cable without rules shows how far
// equal things differ.
func partitionCost(ctx context.Context, n int) (rows []row, err error) {
	var all []*toll
	defer func() {
		for _, t := range all {
			t.wire.close()
		}
	}()
	add := func(what string, rules func(*cable) error) error {
		w, err := newCable()
		if err != nil {
			return err
		}
		all = append(all, &toll{what: what, wire: w})
		return rules(w)
	}
	f := partition.New()
	cut := func(p partition.Params) func(*cable) error {
		return func(w *cable) error { return w.cut(ctx, f, fmt.Sprint("bench", len(all)), p) }
	}
	other, err := newSleeperInGroup()
	if err != nil {
		return nil, err
	}
	defer other.close()
	err = errors.Join(
		add("no rule", func(*cable) error { return nil }),
		add("no rule, a second time", func(*cable) error { return nil }),
		add("1 peer cut off", cut(partition.Params{Peers: manyPeers(1, false)})),
		add("1 000 peers cut off", cut(partition.Params{Peers: manyPeers(1000, false)})),
		add("10 000 peers cut off", cut(partition.Params{Peers: manyPeers(10_000, false)})),
		add("another process cut off from 10 000 others", cut(partition.Params{Peers: manyPeers(10_000, false), Process: other.selector()})),
		add("another process cut off from the same peer", cut(partition.Params{Peers: manyPeers(1, true), Process: other.selector()})),
		add("alternative: 1 000 rules by iptables-restore", func(w *cable) error { return w.a.run(restore(manyPeers(1000, false)), "iptables-restore") }),
	)
	if err != nil {
		return nil, err
	}
	if err := onOneCore(func() error { return takeTurns(ctx, all, 300*n) }); err != nil {
		return nil, err
	}
	none, one := all[0], all[2]
	for i, t := range all {
		rows = append(rows, row{"arriving packet, " + t.what, "", t.in, "ns"}, row{"leaving packet, " + t.what, "", t.out, "ns"})
		if i == 0 {
			continue
		}
		target := ""
		if t.what == "10 000 peers cut off" {
			target = "< 15"
		}
		rows = append(rows, row{"arriving packet, " + t.what + ", more than with no rule", target, more(t.in, none.in), "%"})
		rows = append(rows, row{"leaving packet, " + t.what + ", more than with no rule", target, more(t.out, none.out), "%"})
		if target != "" {
			rows = append(rows,
				row{"arriving packet, " + t.what + ", more than with 1 peer", "< 5", more(t.in, one.in), "%"},
				row{"leaving packet, " + t.what + ", more than with 1 peer", "< 5", more(t.out, one.out), "%"})
		}
	}
	return rows, nil
}

// more is how many percent a is above b, round by round.
func more(a, b []float64) []float64 {
	var out []float64
	for i := range a {
		out = append(out, 100*(a[i]/b[i]-1))
	}
	return out
}

// takeTurns measures every condition in every round, each time in another order.
func takeTurns(ctx context.Context, all []*toll, rounds int) error {
	for r := range rounds + 10 {
		for i := range all {
			t := all[(i*5+r)%len(all)]
			in, err1 := burst(t.wire.cb, t.wire.ca)
			out, err2 := burst(t.wire.ca, t.wire.cb)
			if err := errors.Join(err1, err2, ctx.Err()); err != nil {
				return fmt.Errorf("%s: %w", t.what, err)
			}
			if r >= 10 { // until caches are warm
				t.in, t.out = append(t.in, in), append(t.out, out)
			}
		}
	}
	return nil
}

// burst sends packets that fit the receiver's buffer, and reads them afterwards: the
// time is the sender's system call and, on the same core, the receiver's stack up to
// its socket.
func burst(from, to *net.UDPConn) (float64, error) {
	const size = 200
	b, got := make([]byte, 64), 0
	start := time.Now()
	for range size {
		if _, err := from.Write(b); err != nil {
			return 0, err
		}
	}
	spent := time.Since(start)
	for range size {
		_ = to.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := to.Read(b); err != nil {
			break
		}
		got++
	}
	if got < size*99/100 {
		return 0, fmt.Errorf("only %d of %d packets arrived", got, size)
	}
	return float64(spent.Nanoseconds()) / size, nil
}

// onOneCore keeps f on one core.
func onOneCore(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never lets go of it: the thread ends with f
		var one unix.CPUSet
		one.Set(runtime.NumCPU() - 1)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// cut puts a partition into effect; it ends with the cable's namespace.
func (c *cable) cut(ctx context.Context, f *partition.Fault, id string, p partition.Params) error {
	spec, err := c.orderOf(time.Hour, p)
	if err != nil {
		return err
	}
	plan, err := f.Prepare(ctx, spec)
	if err != nil {
		return err
	}
	plan.ID = id
	_, err = f.Inject(ctx, plan)
	return err
}

// sleeperInGroup is a process in a control group of its own.
type sleeperInGroup struct {
	cmd *exec.Cmd
	dir string
}

func newSleeperInGroup() (s sleeperInGroup, err error) {
	m, err := target.CgroupMount()
	if err != nil {
		return s, err
	}
	if s.dir, err = os.MkdirTemp(m.Dir, "lockaudit-bench-"); err != nil {
		return s, err
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return s, err
	}
	defer dir.Close()
	s.cmd = exec.Command("sleep", "1000")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return s, s.cmd.Start()
}

func (s sleeperInGroup) selector() target.Selector { return target.Selector{PID: s.cmd.Process.Pid} }

func (s sleeperInGroup) close() {
	_, _ = s.cmd.Process.Kill(), s.cmd.Wait()
	for range 100 { // until the kernel has taken it out
		if os.Remove(filepath.Clean(s.dir)) == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// restore is what iptables-restore reads to drop what arrives from the peers.
func restore(peers []string) string {
	var b strings.Builder
	b.WriteString("*filter\n")
	for _, p := range peers {
		b.WriteString("-A INPUT -s " + p + " -j DROP\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
