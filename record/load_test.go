package record

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDamageIsToldAndTheRestIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		harm   func(t *testing.T, dir string)
		damage string
		events int
	}{
		"torn last line": {
			func(t *testing.T, dir string) {
				file := filepath.Join(dir, "history", "contend.jsonl")
				info, err := os.Stat(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(file, info.Size()-5); err != nil {
					t.Fatal(err)
				}
			}, "history/contend.jsonl: the last line is torn", 2,
		},
		"garbage in the middle": {
			func(t *testing.T, dir string) {
				file := filepath.Join(dir, "history", "contend.jsonl")
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				lines := strings.SplitAfter(string(data), "\n")
				lines[1] = "\x00\x00\n"
				put(t, file, strings.Join(lines, ""))
			}, "line 2", 1,
		},
		"wrong sequence": {
			func(t *testing.T, dir string) {
				file := filepath.Join(dir, "history", "contend.jsonl")
				put(t, file, `{"seq":7,"at":1,"actor":"a","op":"step","type":"info"}`+"\n")
			}, "event 1 has seq 7", 1,
		},
		"changed plan":    {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "plan.yaml"), "name: x\n") }, "plan.yaml: changed", 3},
		"missing agent":   {func(t *testing.T, dir string) { drop(t, filepath.Join(dir, "agents", "app-a.jsonl")) }, "agents/app-a.jsonl: missing", 3},
		"added history":   {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "history", "x.jsonl"), "") }, "history/x.jsonl: added", 3},
		"broken facts":    {func(t *testing.T, dir string) { put(t, filepath.Join(dir, "facts.json"), "{") }, "facts.json: decode", 3},
		"no histories":    {func(t *testing.T, dir string) { drop(t, filepath.Join(dir, "history")) }, "history: ", 0},
		"no facts":        {func(t *testing.T, dir string) { drop(t, filepath.Join(dir, "facts.json")) }, "facts.json: missing", 3},
		"a stray symlink": {func(t *testing.T, dir string) { link(t, filepath.Join(dir, "history", "x.jsonl")) }, "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sealed(t)
			c.harm(t, dir)
			run := load(t, dir)
			if got := strings.Join(run.Damage, "\n"); !strings.Contains(got, c.damage) || c.damage == "" && got != "" {
				t.Errorf("damage %q, want %q", got, c.damage)
			}
			if n := len(run.Histories["contend"]); n != c.events {
				t.Errorf("%d events kept, want %d", n, c.events)
			}
		})
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func drop(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, path string) {
	t.Helper()
	if err := os.Symlink("/etc/hostname", path); err != nil {
		t.Fatal(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		want     error
	}{
		"no manifest":  {"", ErrNotRun},
		"no JSON":      {"hello", ErrNotRun},
		"no format":    {`{"id":"x"}`, ErrNotRun},
		"newer format": {`{"format":2,"status":["not","as","today"]}`, ErrNewerFormat},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.manifest != "" {
				put(t, filepath.Join(dir, manifestFile), c.manifest)
			}
			if _, err := Load(dir); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); !errors.Is(err, ErrNotRun) {
		t.Errorf("a file: %v, want %v", err, ErrNotRun)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, ErrNotRun) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"id":"x","status":"complete","subject":{"ttl":5},"files":{"a":"b"}}`))
	f.Add([]byte(`{"format":9}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			return
		}
		if m.Format < 1 || m.Format > Format {
			t.Fatalf("format %d accepted", m.Format)
		}
		again, err := json.Marshal(m)
		if err != nil {
			if strings.Contains(err.Error(), "year outside") { // RFC 3339 ends at 9999
				return
			}
			t.Fatalf("encode: %v", err)
		}
		if _, err := decodeManifest(again); err != nil {
			t.Fatalf("not read again: %v", err)
		}
	})
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte(`{"backend":"etcd","voters":3,"durable":true,"members":[{"endpoint":"x","clock":-5}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeFacts(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		if _, err := decodeFacts(again); err != nil {
			t.Fatalf("not read again: %v", err)
		}
	})
}
