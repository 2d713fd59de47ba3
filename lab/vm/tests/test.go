package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/olekukonko/tablewriter"
)

// test is one that boots machines.
type test struct {
	name, pkg string // the package as it was named
	binary    string
	results   []result
}

type result struct {
	ok     bool
	took   time.Duration
	cases  int
	output string
}

type suite struct {
	dir string
	all []*test
}

// limit bounds a test: a hang, and not a busy machine, should reach it.
const limit = 20 * time.Minute

// prepare builds the binaries, which have to be static to run in the machines, and
// lists their tests.
func prepare(ctx context.Context, pkgs []string, which string) (*suite, error) {
	only, err := regexp.Compile(which)
	if err != nil {
		return nil, fmt.Errorf("read -run: %w", err)
	}
	s := &suite{}
	if s.dir, err = os.MkdirTemp("", "lockaudit-vm-tests-"); err != nil {
		return nil, err
	}
	for i, pkg := range pkgs {
		binary := filepath.Join(s.dir, fmt.Sprintf("%d-%s.test", i, filepath.Base(pkg)))
		build := exec.CommandContext(ctx, "go", "test", "-tags", "vm", "-c", "-o", binary, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build tests of %s: %w: %s", pkg, err, out)
		}
		out, err := exec.CommandContext(ctx, binary, "-test.list", "^TestVM").Output()
		if err != nil {
			return nil, fmt.Errorf("list tests of %s: %w", pkg, err)
		}
		for _, name := range strings.Fields(string(out)) {
			if only.MatchString(name) {
				s.all = append(s.all, &test{name: name, pkg: pkg, binary: binary})
			}
		}
	}
	if len(s.all) == 0 {
		return nil, fmt.Errorf("no test ^TestVM is like %q in %s", which, strings.Join(pkgs, " "))
	}
	return s, nil
}

// run runs the test in its package's folder, as go test does.
func (t *test) run(ctx context.Context) result {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.binary, "-test.v", "-test.run", "^"+t.name+"$", "-test.timeout", limit.String())
	cmd.Dir = t.pkg
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // its machines die with it
	cmd.WaitDelay = time.Second
	start := time.Now()
	out, err := cmd.CombinedOutput()
	r := result{took: time.Since(start), cases: len(cases.FindAll(out, -1)), output: string(out)}
	r.ok = err == nil && strings.Contains(r.output, "--- PASS: "+t.name+" (")
	return r
}

func (t *test) line(r result) string {
	word := "ok  "
	if !r.ok {
		word = "FAIL"
	}
	said := fmt.Sprintf("%s %5.0f s  %s (%s)", word, r.took.Seconds(), t.name, t.pkg)
	switch {
	case r.cases == 1:
		said += ", 1 case"
	case r.cases > 1:
		said += fmt.Sprintf(", %d cases", r.cases)
	}
	return said
}

func (t *test) failed() (n int) {
	for _, r := range t.results {
		if !r.ok {
			n++
		}
	}
	return n
}

// passed: each test has run, and none has failed.
func (s *suite) passed() bool {
	return !slices.ContainsFunc(s.all, func(t *test) bool { return len(t.results) == 0 || t.failed() > 0 })
}

func (s *suite) summary(took time.Duration) string {
	var b strings.Builder
	table := tablewriter.NewTable(&b)
	table.Header("test", "package", "cases", "passed", "median", "longest")
	runs, failed := 0, 0
	for _, t := range s.all {
		runs, failed = runs+len(t.results), failed+t.failed()
		if len(t.results) == 0 {
			_ = table.Append(t.name, t.pkg, "", "not run", "", "")
			continue
		}
		byTime := slices.SortedFunc(slices.Values(t.results), func(a, b result) int { return int(a.took - b.took) })
		round := func(r result) string { return r.took.Round(time.Second).String() }
		last := t.results[len(t.results)-1]
		_ = table.Append(t.name, t.pkg, fmt.Sprint(last.cases), fmt.Sprintf("%d of %d", len(t.results)-t.failed(), len(t.results)),
			round(byTime[len(byTime)/2]), round(byTime[len(byTime)-1]))
	}
	_ = table.Render()
	fmt.Fprintf(&b, "%d tests, %d passed, %d failed, in %v\n", runs, runs-failed, failed, took.Round(time.Second))
	return b.String()
}
