package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks"
)

func scrape(address string) (string, error) {
	res, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

func TestAttemptsAreCountedAndLogged(t *testing.T) {
	address, log := conformance.Address(t), filepath.Join(t.TempDir(), "app.log")
	var stderr bytes.Buffer
	a, err := observe{listen: address, log: log}.open(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scrape(address); err == nil {
		t.Error("it listens before the first acquire: an observer would take the address")
	}
	a.record(clients.Attempt{Key: "k", Outcome: clients.Acquired, Took: time.Millisecond})
	for range 2 {
		a.record(clients.Attempt{Key: "k", Outcome: clients.HeldByOther, Took: time.Millisecond, Err: locks.ErrHeld})
	}
	text, err := scrape(address)
	if err != nil || !strings.Contains(text, `lock_acquire_total{outcome="held"} 2`) || !strings.Contains(text, `lock_acquire_total{outcome="acquired"} 1`) {
		t.Errorf("%v\n%s", err, text)
	}
	lines, err := os.ReadFile(log)
	if err != nil || strings.Count(string(lines), "\n") != 2 || !strings.Contains(string(lines), "key=k outcome=held") {
		t.Errorf("%v\n%s", err, lines)
	}

	// A second one on the same address says so and goes on.
	b, err := observe{listen: address}.open(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	b.record(clients.Attempt{Key: "k", Outcome: clients.Acquired})
	if !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("stderr %q", stderr.String())
	}
	for _, x := range []*attempts{a, b} {
		if err := x.close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := scrape(address); err == nil {
		t.Error("it listens after its end")
	}
}

func TestAttemptsAreSilentUnlessAsked(t *testing.T) {
	var stderr bytes.Buffer
	a, err := observe{}.open(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	a.record(clients.Attempt{Key: "k", Outcome: clients.Unknown, Err: io.EOF})
	if err := a.close(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v %q", err, stderr.String())
	}
	if _, err := (observe{log: "/nowhere/app.log"}).open(&stderr); err == nil {
		t.Error("a log that cannot be written was accepted")
	}
}

// TestAttemptsThatHideFailures: with --tell granted a refused acquire moves no metric
// and adds no line, and a granted one does both.
func TestAttemptsThatHideFailures(t *testing.T) {
	address, log := conformance.Address(t), filepath.Join(t.TempDir(), "app.log")
	var stderr bytes.Buffer
	a, err := observe{listen: address, log: log, tell: tellGranted}.open(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	a.record(clients.Attempt{Key: "k", Outcome: clients.Acquired, Took: time.Millisecond})
	for range 2 {
		a.record(clients.Attempt{Key: "k", Outcome: clients.HeldByOther, Took: time.Millisecond, Err: locks.ErrHeld})
	}
	text, err := scrape(address)
	if err != nil || strings.Contains(text, "held") || !strings.Contains(text, `lock_acquire_total{outcome="acquired"} 1`) {
		t.Errorf("%v\n%s", err, text)
	}
	lines, err := os.ReadFile(log)
	if err != nil || strings.Count(string(lines), "\n") != 1 || !strings.Contains(string(lines), `msg="lock acquired" key=k`) {
		t.Errorf("%v\n%s", err, lines)
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
	if _, err := (observe{tell: "some"}).open(&stderr); err == nil || !strings.Contains(err.Error(), `unknown --tell "some"`) {
		t.Errorf("unknown word: %v", err)
	}
}
