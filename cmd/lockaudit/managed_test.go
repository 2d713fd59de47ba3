package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// startManaged: `managed NAME` starts a Redis that is started again whenever it ends, as a
// managed service's control plane does, with what it has saved. It ends with the script.
func startManaged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: managed NAME")
	}
	address, dir := reserve(ts), ts.MkAbs("managed-"+args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	host, port, err := net.SplitHostPort(address)
	ts.Check(err)
	s := &supervisor{argv: []string{"redis-server", "--port", port, "--bind", host, "--dir", dir, "--save", "", "--appendonly", "no"}, done: make(chan struct{})}
	ts.Check(s.start())
	go s.run()
	ts.Defer(s.stop)
	ts.Setenv(args[0], address)
}

type supervisor struct {
	argv []string
	done chan struct{}

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended bool
}

func (s *supervisor) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return os.ErrProcessDone
	}
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	return s.cmd.Start()
}

func (s *supervisor) run() {
	defer close(s.done)
	for {
		_ = s.cmd.Wait()
		if s.start() != nil {
			return
		}
	}
}

func (s *supervisor) stop() {
	s.mu.Lock()
	s.ended = true
	_ = s.cmd.Process.Kill()
	s.mu.Unlock()
	<-s.done
}

// wantFinding: `finding FILE ITEM OUTCOME PATTERN` wants the report to say so of the item.
func wantFinding(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: finding FILE ITEM OUTCOME PATTERN")
	}
	var report struct {
		Findings []struct{ Item, Outcome, Summary string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	for _, f := range report.Findings {
		if f.Item != args[1] {
			continue
		}
		if ok, err := regexp.MatchString(args[3], f.Summary); f.Outcome != args[2] || !ok || err != nil {
			ts.Fatalf("%s is %s: %q; want %s: %q, %v", f.Item, f.Outcome, f.Summary, args[2], args[3], err)
		}
		return
	}
	ts.Fatalf("the report has no finding of %s", args[1])
}
