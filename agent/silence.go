package agent

import (
	"context"
	"sync/atomic"
	"time"
)

// A connection can be dead and neither end be told: packets that vanish, a machine that
// was cut off, a jump host that hangs. The kernel says so after a quarter of an hour or
// never. So the auditor says every few seconds that it is there, and each end takes the
// other's silence for the end of the connection.
const (
	// silence is after what an agent that hears nothing reverts everything and ends.
	// Shorter than most faults, longer than TCP needs to get over lost packets.
	silence = 15 * time.Second
	// pingEvery of it the auditor sends a word.
	pingEvery = 5
	// deafness of it is after what the auditor gives a connection up. It holds nothing in
	// effect, so the agent is first.
	deafness = 2
)

// ear notices that a peer has fallen silent.
type ear struct{ heard atomic.Uint64 }

func (e *ear) hear() { e.heard.Add(1) }

// looks is in how many looks a silence is found.
const looks = 10

// silent waits until nothing was heard for limit and returns true, or false when ctx
// ends. Looks are counted and not time alone: while this process itself stood still, it
// did not listen, and what was said meanwhile is yet to be read.
func (e *ear) silent(ctx context.Context, limit time.Duration) bool {
	tick := time.NewTicker(limit / looks)
	defer tick.Stop()
	last, quiet := e.heard.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if now := e.heard.Load(); now != last {
			last, quiet = now, 0
			continue
		}
		if quiet++; quiet >= looks {
			return true
		}
	}
}

// attend has the auditor say that it is there, and listen, until the connection ends or
// is being closed.
func (c *Conn) attend(limit time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	c.rest = stop
	go func() {
		select {
		case <-c.waited:
		case <-ctx.Done():
		}
		stop()
	}()
	go func() {
		for tick := time.NewTicker(limit / pingEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				c.link.post(order{Op: opPing})
			}
		}
	}()
	go func() {
		if !c.link.ear.silent(ctx, deafness*limit) {
			return
		}
		c.mu.Lock()
		c.deaf = deafness * limit
		c.mu.Unlock()
		// Its input ends, if anything still gets there; what gives the stdio is of no
		// more use.
		_ = c.stdin.Close()
		_ = c.cmd.Process.Kill()
	}()
}
