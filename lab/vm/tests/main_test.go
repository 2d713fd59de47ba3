package main

import (
	"strings"
	"testing"
	"time"
)

// TestSummary: one that failed once, or was not run, is neither passed nor hidden.
func TestSummary(t *testing.T) {
	good := &test{name: "TestVMGood", pkg: "./a", results: []result{{ok: true, took: 3 * time.Second, cases: 2}, {ok: true, took: 9 * time.Second, cases: 2}}}
	bad := &test{name: "TestVMBad", pkg: "./b", results: []result{{ok: true, took: time.Second}, {took: 2 * time.Second}}}
	skipped := &test{name: "TestVMSkipped", pkg: "./b"}
	for _, x := range []struct {
		all    []*test
		passed bool
		words  []string
	}{
		{[]*test{good}, true, []string{"TestVMGood", "2 of 2", "9s", "2 tests, 2 passed, 0 failed"}},
		{[]*test{good, bad}, false, []string{"1 of 2", "4 tests, 3 passed, 1 failed"}},
		{[]*test{good, skipped}, false, []string{"not run"}},
	} {
		s := &suite{all: x.all}
		if s.passed() != x.passed {
			t.Errorf("%d tests: passed: %v", len(x.all), s.passed())
		}
		said := s.summary(time.Minute)
		for _, w := range x.words {
			if !strings.Contains(said, w) {
				t.Errorf("no %q in\n%s", w, said)
			}
		}
	}
}

// TestRun: a binary that fails, or that does not have the test, has not passed.
func TestRun(t *testing.T) {
	for name, want := range map[string]bool{"/bin/false": false, "/bin/true": false} {
		x := &test{name: "TestVMNone", pkg: ".", binary: name}
		if r := x.run(t.Context()); r.ok != want {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if code := run(t.Context(), []string{"-runs", "0", "./x"}); code != 64 {
		t.Errorf("no run at all: status %d", code)
	}
	if code := run(t.Context(), []string{"-run", "(", "./x"}); code != 1 {
		t.Errorf("a pattern that is none: status %d", code)
	}
}
