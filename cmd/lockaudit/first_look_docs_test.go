package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// lookAsWritten runs what README and guide tell a newcomer to type, as it is
// written but for the address, against a Redis in which a lock is held.
func lookAsWritten(t *testing.T, bin string) {
	s := servers.StartRedis(t)
	held := redis.NewClient(&redis.Options{Addr: s.Endpoint})
	defer held.Close()
	if err := held.Set(context.Background(), "/locks/billing", "app-1:4711", 0).Err(); err != nil {
		t.Fatal(err)
	}
	// Exit status 1 of inspect: a single Redis without a lease fails.
	wants := map[string]string{"init": "exit 0", "plan": "exit 0", "inspect": "exit 1", "report": "exit 0"}
	for file, heading := range map[string]string{"README.md": "## First five minutes", "docs/guides/first-look.md": "# The first look"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			l := newLooker(t, bin, "")
			if err := os.Symlink(bin, filepath.Join(l.dir, "bin")); err != nil {
				t.Fatal(err)
			}
			ran := map[string]bool{}
			for _, line := range firstBlock(t, "../../"+file, heading) {
				command, _, _ := strings.Cut(line, "#")
				command = strings.TrimSpace(command)
				if strings.HasPrefix(command, "make build") {
					continue // programs has done that
				}
				words := strings.Fields(strings.TrimPrefix(command, "bin/"))
				want := wants[words[min(1, len(words)-1)]]
				if words[0] != "lockaudit" || want == "" {
					t.Fatalf("a command that is not known here: %q", line)
				}
				command = strings.NewReplacer("127.0.0.1:6379", s.Endpoint, "10.0.0.1:6379", s.Endpoint).Replace(command)
				out, status := l.shell(t, command)
				if status != want {
					t.Errorf("%s: %s, want %s\n%s", command, status, want, out)
				}
				ran[words[1]] = true
			}
			if !ran["init"] || !ran["plan"] || !ran["inspect"] {
				t.Errorf("only %v were run", ran)
			}
		})
	}
}

// firstBlock are the indented lines that follow a heading first.
func firstBlock(t *testing.T, path, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), heading)
	if !found {
		t.Fatalf("%s has no %q", path, heading)
	}
	var out []string
	for line := range strings.Lines(section) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			out = append(out, strings.TrimSpace(command))
		} else if len(out) > 0 {
			break
		}
	}
	return out
}
