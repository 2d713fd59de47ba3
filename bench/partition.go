package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// manyPeers are n, of which the last is 10.99.0.2, the other end of the cable.
func manyPeers(n int, cut bool) []string {
	out := make([]string, 0, n)
	for i := range n - 1 {
		out = append(out, fmt.Sprintf("10.100.%d.%d", i>>8, i&255))
	}
	if cut {
		return append(out, "10.99.0.2")
	}
	return append(out, "10.101.0.1")
}

func (c *cable) order(d time.Duration, direction string, list []string) (inject.Spec, error) {
	return c.orderOf(d, partition.Params{Peers: list, Direction: direction})
}

// orderOf orders a partition in the namespace of the cable's first host.
func (c *cable) orderOf(d time.Duration, p partition.Params) (inject.Spec, error) {
	s, err := inject.ReadStat(c.a.cmd.Process.Pid)
	if err != nil {
		return inject.Spec{}, err
	}
	p.Netns.Of = target.Selector{PID: c.a.cmd.Process.Pid, StartTime: s.StartTime}
	b, err := json.Marshal(p)
	return inject.Spec{Kind: partition.Kind, For: d, Params: b}, err
}

// stream sends a numbered datagram about every 40 µs and notes which arrive.
type stream struct {
	from, to *net.UDPConn
	sent     []time.Time
	arrived  []atomic.Bool
	n        atomic.Int64
	drained  atomic.Pointer[time.Time] // when all that had come was read
	stop     atomic.Bool
	done     chan error
}

const streamMost = 1 << 19 // 20 s

func newStream(from, to *net.UDPConn) *stream {
	s := &stream{from: from, to: to, sent: make([]time.Time, streamMost), arrived: make([]atomic.Bool, streamMost), done: make(chan error, 2)}
	go func() {
		runtime.LockOSThread()                             // never unlocked: the slack is the thread's
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // sleeps are as long as they say
		var b [8]byte
		for i := range streamMost {
			if s.stop.Load() {
				break
			}
			binary.BigEndian.PutUint64(b[:], uint64(i))
			s.sent[i] = time.Now()
			if _, err := s.from.Write(b[:]); err != nil {
				s.done <- fmt.Errorf("the sender sees an error: %w", err)
				return
			}
			s.n.Store(int64(i + 1))
			// To spin would take a core from those that are measured.
			ts := unix.NsecToTimespec(int64(20 * time.Microsecond))
			_ = unix.Nanosleep(&ts, nil)
		}
		s.done <- nil
	}()
	go func() {
		var b [8]byte
		for !s.stop.Load() {
			// What has come waits in the socket: to wake up for each would take a core from
			// those that are measured.
			time.Sleep(5 * time.Millisecond)
			_ = s.to.SetReadDeadline(time.Now().Add(time.Millisecond))
			for {
				now := time.Now()
				n, err := s.to.Read(b[:])
				if err != nil { // nothing is there
					s.drained.Store(&now)
					break
				}
				if i := binary.BigEndian.Uint64(b[:]); n == 8 && i < streamMost {
					s.arrived[i].Store(true)
				}
			}
		}
		s.done <- nil
	}()
	return s
}

func (s *stream) end() error {
	s.stop.Store(true)
	return errors.Join(<-s.done, <-s.done)
}

// first is when the first datagram after t was sent that did or did not arrive, if
// it has been.
func (s *stream) first(t time.Time, arrives bool) (time.Time, bool) {
	last, drained := int(s.n.Load())-1, s.drained.Load()
	for i := range last {
		// What had been sent for long when all was read, and is not here, does not come.
		lost := drained != nil && drained.Sub(s.sent[i]) > 5*time.Millisecond
		if s.sent[i].After(t) && s.arrived[i].Load() == arrives && (arrives || lost) {
			return s.sent[i], true
		}
	}
	return time.Time{}, false
}

// after acts and returns how many ms later datagrams did or did not arrive.
func (s *stream) after(arrives bool, act func() error) (float64, error) {
	start := time.Now()
	if err := act(); err != nil {
		return 0, err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if at, ok := s.first(start, arrives); ok {
			return millis(at.Sub(start)), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("no datagram after the order with arrival=%v within 10 s", arrives)
}

// partitionOrder measures order and revert for 1, 100 and 10 000 peers.
func partitionOrder(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.close() }()
	c, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	w, err := newCable()
	if err != nil {
		return nil, err
	}
	defer w.close()
	fault := partition.New()
	defer awake()()
	if ok, why := fault.Support(); !ok { // an agent has asked it by the time of an order
		return nil, fmt.Errorf("partition: %s", why)
	}
	var rows []row
	for _, x := range []struct {
		peers  int
		target string
	}{{1, "median < 1"}, {100, ""}, {10_000, "median < 20"}} {
		spec, err := w.order(time.Minute, "both", manyPeers(x.peers, true))
		if err != nil {
			return nil, err
		}
		var r [6][]float64
		for range 15 * n {
			var f agent.Fault
			plan := inject.Plan{}
			lib := &transient{netns: int(w.a.file.Fd())}
			for i, m := range []func() error{
				func() (err error) { f, err = c.Inject(ctx, spec); return err },
				func() (err error) { _, err = c.Revert(ctx, f.ID); return err },
				func() (err error) {
					if plan, err = fault.Prepare(ctx, spec); err == nil {
						plan.ID = "bench"
						_, err = fault.Inject(ctx, plan)
					}
					return err
				},
				func() (err error) { _, err = fault.Revert(ctx, plan); return err },
				func() error { return lib.add(manyPeers(x.peers, true)) },
				func() error { return lib.remove() },
			} {
				from, to := w.ca, w.cb
				if i >= 4 { // it cuts only what arrives
					from, to = to, from
				}
				// The one before is over: the kernel takes up to 20 ms to close its socket,
				// and no order comes as soon after another.
				time.Sleep(50 * time.Millisecond)
				s := newStream(from, to)
				time.Sleep(5 * time.Millisecond) // until it flows
				ms, err := s.after(i%2 == 1, m)
				if err := errors.Join(err, s.end()); err != nil {
					return nil, err
				}
				r[i] = append(r[i], ms)
			}
		}
		peers := fmt.Sprintf("%d peers: ", x.peers)
		rows = append(rows,
			row{peers + "order to agent, first packet dropped", x.target, r[0], "ms"},
			row{peers + "the same without agent and journal", "", r[2], "ms"},
			row{peers + "alternative: google/nftables, transient, in only", "", r[4], "ms"},
			row{peers + "revert, first packet through", x.target, r[1], "ms"},
			row{peers + "the same without agent and journal", "", r[3], "ms"},
			row{peers + "alternative: google/nftables, transient", "", r[5], "ms"})
		others, err := w.compare(x.peers)
		if err != nil {
			return nil, err
		}
		rows = append(rows, others...)
	}
	return rows, nil
}

// partitionEnds measures the two ways in which the kernel ends a partition.
func partitionEnds(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.close() }()
	w, err := newCable()
	if err != nil {
		return nil, err
	}
	defer w.close()
	var killed, stopped []float64
	for range 20 * n {
		ms, err := w.endOnce(ctx, l, time.Minute, syscall.SIGKILL)
		if err != nil {
			return nil, err
		}
		killed = append(killed, ms)
	}
	for range 10 * n {
		ms, err := w.endOnce(ctx, l, 300*time.Millisecond, syscall.SIGSTOP)
		if err != nil {
			return nil, err
		}
		stopped = append(stopped, ms)
	}
	return []row{
		{"kill -9 of agent and guard, first packet through", "p99 < 10", killed, "ms"},
		{"agent and guard stopped, first packet through after the deadline", "within 10", stopped, "ms"},
	}, nil
}

func (c *cable) endOnce(ctx context.Context, l *lab, d time.Duration, sig syscall.Signal) (float64, error) {
	conn, err := l.dial(ctx)
	if err != nil {
		return 0, err
	}
	h := conn.Hello()
	defer func() {
		_, _ = syscall.Kill(h.GuardPID, syscall.SIGKILL), syscall.Kill(h.PID, syscall.SIGKILL)
		_ = conn.Close() // its error is that we killed it
	}()
	spec, err := c.order(d, "both", manyPeers(1, true))
	if err != nil {
		return 0, err
	}
	s := newStream(c.ca, c.cb)
	start := time.Now()
	if _, err := s.after(false, func() error { _, err := conn.Inject(ctx, spec); return err }); err != nil {
		return 0, errors.Join(err, s.end())
	}
	cut, _ := s.first(start, false)
	ms, err := s.after(true, func() error {
		return errors.Join(syscall.Kill(h.GuardPID, sig), syscall.Kill(h.PID, sig))
	})
	if sig == syscall.SIGSTOP {
		at, _ := s.first(cut, true)
		ms = millis(at.Sub(cut) - d)
	}
	return ms, errors.Join(err, s.end())
}
