package vm

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BootTest boots a machine that does not outlive the test.
func BootTest(t *testing.T, m Machine) *VM {
	t.Helper()
	if m.Name == "" {
		m.Name = strings.ReplaceAll(t.Name(), "/", "-")
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	v, err := Boot(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Kill)
	return v
}

// MustRun runs a program to its end and returns what it printed.
func (v *VM) MustRun(t *testing.T, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := v.Run(ctx, argv...)
	if err != nil {
		t.Fatal(fmt.Errorf("in %s: %w", v.Name, err))
	}
	return out
}

// Built are static binaries of this project, by their names.
type Built map[string]string

// BuildTest builds packages, as cmd/lockaudit, for a test.
func BuildTest(t *testing.T, pkgs ...string) Built {
	t.Helper()
	dir, b := t.TempDir(), Built{}
	for _, pkg := range pkgs {
		file, err := Build(dir, pkg)
		if err != nil {
			t.Fatal(err)
		}
		b[filepath.Base(pkg)] = file
	}
	return b
}

// Programs are all of them, in the machine's /bin, except the way into it.
func (b Built) Programs() map[string]string {
	m := map[string]string{}
	for name, file := range b {
		if name != "exec" {
			m["/bin/"+name] = file
		}
	}
	return m
}

// Via is the command on the outside that runs a program in the machine: lab/vm/exec
// has to be built.
func (b Built) Via(v *VM, argv ...string) []string {
	return append([]string{b["exec"], v.Door()}, argv...)
}
