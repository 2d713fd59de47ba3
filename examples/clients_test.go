// Package examples_test runs the examples against real servers, as a user runs them.
package examples_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/clients/check"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

func TestMain(m *testing.M) {
	if servers.Child() {
		return
	}
	status := m.Run()
	if dir, _ := bin(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// python is the system's: what the first one on the PATH belongs to may be another user's.
const python = "/usr/bin/python3"

// buildExample builds an example's Go module as its README says.
func buildExample(t *testing.T, folder, program string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
}

// installed fails with what is to be done where npm has not been run.
func installed(t *testing.T, folder string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		t.Fatalf("%s has no node_modules: run make deps, or npm ci there", folder)
	}
	return folder
}

// clientCommands are the three lock clients.
func clientCommands(t *testing.T) map[string][]string {
	t.Helper()
	redsync := filepath.Join(t.TempDir(), "lockclient")
	buildExample(t, "clients/go-redsync", redsync)
	return map[string][]string{
		"go-redsync":   {redsync},
		"node-redlock": {"node", filepath.Join(installed(t, "clients/node-redlock"), "client.js")},
		"python":       {python, "clients/python/client.py"},
	}
}

// TestClientsPassTheBattery: each of them, against a real Redis; those whose library can
// also against three.
func TestClientsPassTheBattery(t *testing.T) {
	var all sync.WaitGroup // they wait for most of the time: more at once than processors
	for name, argv := range clientCommands(t) {
		for _, n := range []int{1, 3} {
			if n > 1 && name == "python" {
				continue // it knows one server
			}
			all.Go(func() {
				t.Run(fmt.Sprintf("%s of %d", name, n), func(t *testing.T) { passes(t, argv, n) })
			})
		}
	}
	all.Wait()
}

// passes tries three times: on a machine that stands still for seconds, a client that is
// right answers too late, and a lease runs out unseen. One that is wrong is so each time.
func passes(t *testing.T, argv []string, n int) {
	var endpoints []string
	for range n {
		endpoints = append(endpoints, servers.StartRedis(t).Endpoint)
	}
	var last []string
	for range 3 {
		if last = battery(t, argv, endpoints); len(last) == 0 {
			return
		}
	}
	t.Error(strings.Join(last, "\n"))
}

// battery returns what was not right.
func battery(t *testing.T, argv, endpoints []string) (bad []string) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	report, err := check.Run(ctx, check.Options{
		Argv: argv, Log: log,
		Target: locks.Target{Backend: "redis", Endpoints: endpoints, Key: "/check", TTL: 2 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Outcome != check.Right {
			bad = append(bad, fmt.Sprintf("%s: %s: %s", r.Check, r.Outcome, r.Words))
		}
	}
	if data, _ := os.ReadFile(log.Name()); len(bad) > 0 {
		bad = append(bad, "its log: "+string(data))
	}
	return bad
}
