package main

import (
	"os"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	s := newSite(t, os.Geteuid())
	tests := []struct {
		name   string
		args   string
		exit   int
		stderr []string
	}{
		{"unknown lab", "up etcd-fence", 64, []string{`locklab: find lab "etcd-fence": unknown name`, "hint: labs: etcd-fenced, "}},
		{"no lab", "up", 64, []string{"locklab: up: want the name of one lab", "hint: labs: "}},
		{"unknown node", "exec redis-single app-c -- true", 64, []string{"hint: nodes of redis-single: app-a, "}},
		{"no program", "exec redis-single app-a --", 64, []string{"locklab: exec: want", "hint: locklab exec --help"}},
		{"not up", "exec redis-single app-a -- true", 1, []string{"lab is not up", "hint: raise it with: locklab up redis-single"}},
		{"no plan", "plan redis-single", 1, []string{"lab is not up"}},
		{"unknown command", "raise redis-single", 64, []string{`unknown command "raise"`, "hint: locklab --help"}},
		{"unknown flag", "up --fast redis-single", 64, []string{"unknown flag: --fast", "hint: locklab up --help"}},
		{"bad duration", "up --max-age soon redis-single", 64, []string{"max-age"}},
		{"no time", "up --max-age -3s redis-single", 64, []string{"--max-age -3s", "hint: locklab up --help"}},
		{"down what is not up", "down redis-single", 0, []string{"redis-single: was not up"}},
		{"keep by hand", "keep redis-single", 1, []string{"not pid 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, notes, exit := s.run(strings.Fields(tt.args)...)
			if exit != tt.exit {
				t.Errorf("exit status %d, want %d: %s", exit, tt.exit, notes)
			}
			for _, want := range tt.stderr {
				if !strings.Contains(notes, want) {
					t.Errorf("stderr has no %q:\n%s", want, notes)
				}
			}
		})
	}
}

func TestHelpHasExamples(t *testing.T) {
	for _, cmd := range newRoot().Commands() {
		if !cmd.Hidden && (cmd.Example == "" || cmd.Short == "") {
			t.Errorf("%s: no example or no summary", cmd.Name())
		}
	}
}

func TestList(t *testing.T) {
	s := newSite(t, os.Geteuid())
	s.must("up", "redis-single")
	out := s.must("list")
	for _, line := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
		state := strings.Fields(line)[1]
		if want := map[bool]string{true: "up", false: "down"}[strings.HasPrefix(line, "redis-single")]; state != want {
			t.Errorf("%s: want %s", line, want)
		}
	}
}
