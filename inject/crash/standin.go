package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Descriptors of a standby.
const (
	ordersFD  = 3
	answersFD = 4
)

// deathWait is how long after its arming a standby waits for the server's death: a
// process in uninterruptible sleep dies late.
const deathWait = 5 * time.Second

// StandIn is called first of all by every program that can be a guard. Unless this
// process was started as a standby, it returns false at once. A standby returns only if
// it did not become the server, and the program must then end with status.
func StandIn() (status int, was bool) {
	if len(os.Args) != 2 || os.Args[0] != standbyName {
		return 0, false
	}
	_ = os.WriteFile("/proc/self/comm", []byte(standbyName), 0)
	unix.CloseOnExec(ordersFD)
	unix.CloseOnExec(answersFD)
	out := os.NewFile(answersFD, "answers")
	if err := standIn(os.NewFile(ordersFD, "orders"), out); err != nil {
		fmt.Fprintln(out, err) // whoever listens is a guard that lives
		return 1, true
	}
	return 0, true
}

// standIn waits for its cue and becomes the server. It returns nil if there was
// nothing to start, or if somebody else has started it.
func standIn(in, out *os.File) error {
	orders := bufio.NewReader(in)
	line, err := orders.ReadBytes('\n')
	if err != nil {
		return err
	}
	var b brief
	if err := json.Unmarshal(line, &b); err != nil {
		return fmt.Errorf("decode brief: %w", err)
	}
	began := ticksNow() // the server lives
	joinCgroup(b.Undo.Image.Cgroup)
	fd, err := b.Undo.Server.Open()
	if err != nil {
		if !errors.Is(err, inject.ErrGone) || !b.Armed {
			return err
		}
		fd = -1
	}
	if _, err := out.Write([]byte{answerReady}); err != nil && !b.Armed {
		return err // the guard died before it had done anything
	}
	if !b.Armed && !cue(orders, b.In) {
		return nil
	}
	if !died(fd) {
		return nil // it was not killed after all: nothing is to be started
	}
	if b.Undo.Unit != "" {
		ctx, cancel := context.WithTimeout(context.Background(), unitWait)
		defer cancel()
		return startUnit(ctx, b.Undo)
	}
	by := since{}
	if !b.Armed {
		by.killed = began
	}
	if found, _, err := b.Undo.find(context.Background(), by); err != nil || found != nil {
		return err
	}
	return b.Undo.Image.become()
}

// cue returns true when the server is to be started: on the order, at the end of
// the orders, or after the given time. Before the arming the end of the orders
// means that nothing will happen.
func cue(orders *bufio.Reader, in time.Duration) bool {
	next := make(chan byte)
	go func() {
		defer close(next)
		for {
			o, err := orders.ReadByte()
			if err != nil {
				return
			}
			next <- o
		}
	}()
	armed := false
	var due <-chan time.Time
	for {
		select {
		case o, ok := <-next:
			switch {
			case !ok || o == orderGo:
				return armed
			case o == orderDrop:
				return false
			case o == orderArm:
				armed, due = true, time.After(in)
			}
		case <-due:
			return true
		}
	}
}

// died waits for the death of the killed server; -1 is one that was dead before.
func died(pidfd int) bool {
	if pidfd < 0 {
		return true
	}
	return waitDeath(pidfd, deathWait) == nil
}

// waitDeath polls a pidfd.
func waitDeath(pidfd int, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		left := time.Until(end)
		p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, int(max(left.Milliseconds(), 0)))
		switch {
		case n > 0:
			return nil
		case err != nil && err != unix.EINTR:
			return fmt.Errorf("wait for its death: %w", err)
		case left <= 0:
			return fmt.Errorf("it has not died within %v", limit)
		}
	}
}
