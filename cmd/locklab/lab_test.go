package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/lab"
)

// TestEveryLab raises and takes down every lab, as root and as nobody.
func TestEveryLab(t *testing.T) {
	for _, uid := range users() {
		for _, l := range lab.All() {
			t.Run(fmt.Sprintf("%s as uid %d", l.Name, uid), func(t *testing.T) {
				s := newSite(t, uid)
				links := hostLinks(t)
				start := time.Now()
				s.must("up", l.Name)
				up := time.Since(start)
				namespaces := s.namespaces(l.Name)
				if want := len(l.Nodes()) + 2; len(namespaces) != want {
					t.Errorf("%d namespaces, want %d", len(namespaces), want)
				}
				s.checkNodes(l)
				s.checkServers(l)
				if _, notes, exit := s.run("up", l.Name); exit != 0 || !strings.Contains(notes, "already up") {
					t.Errorf("second up: exit status %d: %s", exit, notes)
				}
				if again := s.namespaces(l.Name); !slices.Equal(again, namespaces) {
					t.Error("the second up made a new lab")
				}

				start = time.Now()
				s.must("down", l.Name)
				t.Logf("up %v, down %v", up, time.Since(start))
				if left := holders(namespaces); len(left) > 0 {
					t.Errorf("left after down: %s", left)
				}
				if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
					t.Errorf("directory after down: %v", err)
				}
				if after := hostLinks(t); slices.Contains(after, "lab") || slices.Contains(after, "app-a") {
					t.Errorf("links on the host: %s, before: %s", after, links)
				}
			})
		}
	}
}

// checkNodes looks whether programs run where they should.
func (s *site) checkNodes(l lab.Lab) {
	s.t.Helper()
	for _, n := range l.Nodes() {
		if got := s.must("exec", l.Name, n.Name, "--", helperPath(), "address"); got != n.IP+"/24\n" {
			s.t.Errorf("address of %s is %q, want %s", n.Name, got, n.IP)
		}
	}
}

// checkServers asks the servers from a client's node.
func (s *site) checkServers(l lab.Lab) {
	s.t.Helper()
	ask := func(args ...string) string {
		out, notes, _ := s.run(append([]string{"exec", l.Name, "app-b", "--", helperPath(), "get"}, args...)...)
		return out + notes
	}
	if got := ask("http://10.77.0.21:8080/entries/canary"); !strings.HasPrefix(got, "404 ") {
		s.t.Errorf("ledger: %s", got)
	}
	if l.Backend != lab.Etcd {
		return
	}
	for _, endpoint := range l.Endpoints() {
		url := endpoint + "/health"
		if !l.TLS {
			if got := ask(url); !strings.HasPrefix(got, "200 ") {
				s.t.Errorf("%s: %s", url, got)
			}
			continue
		}
		const certs = "/dev/shm/locklab/tls"
		if got := ask(url, certs); !strings.HasPrefix(got, "200 ") {
			s.t.Errorf("%s with a certificate: %s", url, got)
		}
		if got := ask(url, certs, "no certificate"); !strings.Contains(got, "certificate required") {
			s.t.Errorf("%s without a certificate: %s", url, got)
		}
		for _, file := range []string{"ca.pem", "client.pem", "client-key.pem"} {
			s.must("exec", l.Name, "app-a", "--", helperPath(), "read-as-nobody", filepath.Join(certs, file))
		}
	}
}

func TestKeeperKilled(t *testing.T) {
	for _, uid := range users() {
		t.Run(fmt.Sprintf("uid %d", uid), func(t *testing.T) {
			s := newSite(t, uid)
			s.must("up", "etcd-unfenced")
			namespaces := s.namespaces("etcd-unfenced")
			if n := len(holders(namespaces)); n < 5 {
				t.Fatalf("the search for processes of the lab found only %d", n)
			}
			start := time.Now()
			s.killKeeper("etcd-unfenced")
			eventually(t, func() string { return strings.Join(holders(namespaces), ", ") })
			t.Logf("gone after %v", time.Since(start))

			if _, notes, exit := s.run("exec", "etcd-unfenced", "app-a", "--", "true"); exit != 1 || !strings.Contains(notes, "hint: raise it") {
				t.Errorf("exec on a dead lab: exit status %d: %s", exit, notes)
			}
			// The dead keeper's directory is in nobody's way.
			s.must("up", "etcd-unfenced")
			s.killKeeper("etcd-unfenced")
			s.must("down", "etcd-unfenced")
			if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
				t.Errorf("directory after down: %v", err)
			}
		})
	}
}

// TestUpKilled kills an up in the middle: its keeper must not live on.
func TestUpKilled(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			s := newSite(t, os.Geteuid())
			up := s.command("up", "etcd-unfenced")
			notes, err := up.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := up.Start(); err != nil {
				t.Fatal(err)
			}
			awaitLine(t, notes, "wait for lock-1")
			namespaces := s.namespaces("etcd-unfenced")
			if err := up.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := up.Wait(); err == nil {
				t.Error("an interrupted up succeeded")
			}
			eventually(t, func() string { return strings.Join(holders(namespaces), ", ") })
			if _, err := os.Stat(s.dir); signal != syscall.SIGKILL && !os.IsNotExist(err) {
				t.Errorf("directory after an interrupted up: %v", err)
			}
		})
	}
}

func TestMaxAge(t *testing.T) {
	s := newSite(t, os.Geteuid())
	s.must("up", "--max-age", "3s", "redis-single")
	namespaces := s.namespaces("redis-single")
	eventually(t, func() string { return strings.Join(holders(namespaces), ", ") })
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("directory of a lab that was too old: %v", err)
	}
}

func TestDeadServerIsNoted(t *testing.T) {
	s := newSite(t, os.Geteuid())
	s.must("up", "redis-single")
	s.must("exec", "redis-single", "lock-1", "--", "sh", "-c", `kill -9 $(grep -l '^Name:.redis-server' /proc/[0-9]*/status | cut -d/ -f3)`)
	eventually(t, func() string {
		log, err := os.ReadFile(filepath.Join(s.dir, "redis-single", "keeper.log"))
		if err != nil || !strings.Contains(string(log), "lock-1 killed by SIGKILL") {
			return fmt.Sprintf("the keeper's log says %q, %v", log, err)
		}
		return ""
	})
	_, notes, exit := s.run("up", "redis-single")
	if exit != 1 || !strings.Contains(notes, "lock-1") || !strings.Contains(notes, "hint: take it down first") {
		t.Errorf("up of a sick lab: exit status %d: %s", exit, notes)
	}
}

func TestOrphansAreCollected(t *testing.T) {
	s := newSite(t, os.Geteuid())
	s.must("up", "redis-single")
	for range 5 {
		s.must("exec", "redis-single", "app-a", "--", helperPath(), "orphan")
	}
	eventually(t, func() string {
		if out := s.must("exec", "redis-single", "app-a", "--", "sh", "-c", "grep -l '^Name:.sleep' /proc/[0-9]*/status || true"); out != "" {
			return "still there: " + out
		}
		return s.must("exec", "redis-single", "app-a", "--", helperPath(), "zombies")
	})
}

func helperPath() string { return filepath.Join(programs, "helper") }

// keeper reads the lab's keeper.json.
func (s *site) keeper(name string) (id struct {
	Pid        int      `json:"pid"`
	Namespaces []string `json:"namespaces"`
}) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name, "keeper.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &id); err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *site) namespaces(name string) []string { return s.keeper(name).Namespaces }

func (s *site) killKeeper(name string) {
	s.t.Helper()
	pid := s.keeper(name).Pid
	program, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil || program != filepath.Join(programs, "locklab") {
		s.t.Fatalf("process %d is %s, not the keeper: %v", pid, program, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}

// holders lists everything on the machine that keeps one of the namespaces: the
// processes in it and the descriptors on it. A process that has ended and was
// not collected yet keeps none but its PID namespace's number.
func holders(namespaces []string) []string {
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/ns/pid_for_children", "/proc/[0-9]*/fd/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if link, err := os.Readlink(path); err == nil && slices.Contains(namespaces, link) {
				found = append(found, path)
			}
		}
	}
	return found
}

func hostLinks(t *testing.T) []string {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
	}
	return names
}

// The tests need Redis as much as the lab does.
func TestRedisIsInstalled(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal(err)
	}
}
