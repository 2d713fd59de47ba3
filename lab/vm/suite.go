package vm

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/lab/vm/wire"
)

// Case is a test that runs in a machine.
type Case struct {
	Name string
	Test func(*testing.T)
}

// suiteWait bounds the tests of one machine: only a hang should reach it, on a machine
// that is busy with other things too.
const suiteWait = 10 * time.Minute

// Suite boots the machine with this very test binary in it, runs there the test
// that has called Suite, and reports each case as it went. A case that was not
// run, or skipped, has failed.
func Suite(t *testing.T, m Machine, cases []Case) {
	t.Helper()
	if Inside() {
		for _, c := range cases {
			t.Run(c.Name, c.Test)
		}
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m.Programs = maps.Clone(m.Programs)
	if m.Programs == nil {
		m.Programs = map[string]string{}
	}
	m.Programs["/bin/suite.test"] = exe
	v := BootTest(t, m)
	ctx, cancel := context.WithTimeout(context.Background(), suiteWait)
	defer cancel()
	var out bytes.Buffer
	p, err := v.Start(wire.Program{Argv: []string{"/bin/suite.test", "-test.v", "-test.run=" + chosen(t.Name(), flag.Lookup("test.run").Value.String()), "-test.parallel=1", "-test.timeout=" + suiteWait.String()}}, &out, &out)
	if err != nil {
		t.Fatal(err)
	}
	st, err := p.Wait(ctx)
	if err != nil {
		t.Fatalf("%v\nthe tests said:\n%s", err, p.output(&out))
	}
	report(t, cases, out.String(), st)
}

// output is what a program that may still run has said.
func (p *Program) output(b *bytes.Buffer) string {
	p.vm.Kill()
	<-p.done
	return b.String()
}

// chosen is exactly the test with the cases that -run has chosen below it.
func chosen(name, run string) string {
	levels, depth := strings.Split(run, "/"), strings.Count(name, "/")+1
	return strings.Join(append([]string{exactly(name)}, levels[min(depth, len(levels)):]...), "/")
}

// exactly matches a test's name, level by level.
func exactly(name string) string {
	levels := strings.Split(name, "/")
	for i, l := range levels {
		levels[i] = "^" + regexp.QuoteMeta(l) + "$"
	}
	return strings.Join(levels, "/")
}

func report(t *testing.T, cases []Case, out string, st wire.Status) {
	t.Helper()
	if out == "" { // a binary that is not static is not found, says the kernel
		t.Fatalf("the tests did not run (%s); build them with CGO_ENABLED=0, as make test-vm does", st.Err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			name := t.Name()
			if !strings.Contains(out, "--- PASS: "+name+" (") {
				t.Errorf("in the machine %s:\n%s", outcome(out, name), section(out, name))
			}
			if strings.Contains(out, "--- SKIP: "+name) {
				t.Errorf("skipped in the machine:\n%s", section(out, name))
			}
		})
	}
	if st.Code != 0 && !t.Failed() {
		t.Errorf("the tests in the machine ended with %s:\n%s", st.Err, out)
	}
}

func outcome(out, name string) string {
	if strings.Contains(out, "--- FAIL: "+name+" (") {
		return "it failed"
	}
	return "it did not pass"
}

// section is what a test and those below it said, wherever it was paused meanwhile.
func section(out, name string) string {
	var b strings.Builder
	in := false
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(line, "=== ") { // indented ones are of other processes
			in = f[2] == name || strings.HasPrefix(f[2], name+"/")
		}
		if in {
			b.WriteString(line)
		}
	}
	if b.Len() == 0 {
		return out
	}
	return b.String()
}
