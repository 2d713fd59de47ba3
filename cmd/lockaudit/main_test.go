package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"

	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

func TestMain(m *testing.M) {
	if servers.Child() { // an etcd server of a test
		return
	}
	testscript.Main(m, map[string]func(){"lockaudit": main})
}

// buildAgent builds the agent as a user's build does, and returns its folder.
func buildAgent(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "lockaudit-agent"), "../lockaudit-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build agent: %v\n%s", err, out)
	}
	return dir
}

func TestScripts(t *testing.T) {
	bin := buildAgent(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+bin)
			env.Setenv("LOCKAUDIT_STATE", filepath.Join(env.WorkDir, "state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"redis":   startRedis,
			"status":  exitStatus,
			"oneline": oneErrorLine,
			"letter":  gradeLetter,
			"web":     startWeb,
			"page":    startPage,
			"address": freePort,
			"shared":  sharedFolder,
			"managed": startManaged,
			"finding": wantFinding,

			"stdout_node": nodeLine,
		},
	})
}

// startRedis: `redis NAME` starts a server on loopback, sets $NAME to its address,
// and ends it with the script.
func startRedis(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: redis NAME [option…]")
	}
	address := reserve(ts)
	dir := ts.MkAbs("redis-" + args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	stop, err := serveRedis(address, dir, args[1:]...)
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv(args[0], address)
}

// startWeb: `web NAME TYPE BODY` serves one page to everybody and sets $NAME to its
// address.
func startWeb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: web NAME TYPE BODY")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", args[1])
		_, _ = io.WriteString(w, args[2])
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0], strings.TrimPrefix(server.URL, "http://"))
}

// startPage: `page NAME TYPE FILE` serves the file as it is at each moment and sets
// $NAME to the server's address.
func startPage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: page NAME TYPE FILE")
	}
	file := ts.MkAbs(args[2])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, err := os.ReadFile(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", args[1])
		_, _ = w.Write(text)
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0], strings.TrimPrefix(server.URL, "http://"))
}

// sharedFolder: `shared NAME` sets $NAME to a folder in which lock clients, who are
// nobody, may write.
func sharedFolder(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: shared NAME")
	}
	dir, err := os.MkdirTemp("", "lockaudit-shared-")
	ts.Check(err)
	ts.Defer(func() { _ = os.RemoveAll(dir) })
	ts.Check(os.Chmod(dir, 0o777))
	ts.Setenv(args[0], dir)
}

// freePort: `address NAME` sets $NAME to an address on which nobody listens.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address NAME")
	}
	ts.Setenv(args[0], reserve(ts))
}

// reserve is an address of this script alone.
func reserve(ts *testscript.TestScript) string {
	port, release, err := conformance.Reserve()
	ts.Check(err)
	ts.Defer(release)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// serveRedis starts a real redis-server and waits until it answers.
func serveRedis(address, dir string, options ...string) (stop func(), err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	server := exec.Command("redis-server", append([]string{
		"--port", port, "--bind", host, "--dir", dir, "--save", "", "--appendonly", "no",
	}, options...)...)
	if err := server.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := client.Ping(context.Background()).Err()
		if err == nil || strings.Contains(err.Error(), "NOAUTH") { // NOAUTH is an answer too
			return stop, nil
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("redis-server does not answer on %s: %w", address, err)
		}
		<-tick.C
	}
}

// exitStatus: `status N command…` runs it and wants that exit status; stdout and
// stderr are then in the files out and err, stdout in one line in the file wrapped.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [arg…]")
	}
	stdout, err := os.Create(ts.MkAbs("out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs("err"))
	ts.Check(err)
	defer stderr.Close()
	path, err := lookPath(ts, args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{
		"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR"),
		"LOCKAUDIT_STATE=" + ts.Getenv("LOCKAUDIT_STATE"), "LOCKAUDIT_PASSWORD=" + ts.Getenv("LOCKAUDIT_PASSWORD"),
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	defer func() { // and the words of stdout without their line breaks
		words := strings.Join(strings.Fields(ts.ReadFile("out")), " ")
		ts.Check(os.WriteFile(ts.MkAbs("wrapped"), []byte(words), 0o600))
	}()
	if err := cmd.Run(); cmd.ProcessState == nil {
		ts.Check(err)
	}
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Logf("stdout:\n%s\nstderr:\n%s", ts.ReadFile("out"), ts.ReadFile("err"))
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in PATH", name)
}

// oneErrorLine: the file err has one line that starts with "lockaudit: ", at most
// one that starts with "hint: ", and no stack trace.
func oneErrorLine(ts *testscript.TestScript, neg bool, args []string) {
	errors, hints := 0, 0
	for line := range strings.Lines(ts.ReadFile("err")) {
		switch {
		case strings.HasPrefix(line, "lockaudit: "):
			errors++
		case strings.HasPrefix(line, "hint: "):
			hints++
		case strings.Contains(line, "goroutine ") || strings.Contains(line, ".go:"):
			ts.Fatalf("a stack trace: %s", line)
		}
	}
	if errors != 1 || hints != 1 {
		ts.Fatalf("%d error lines and %d hints, want one of each:\n%s", errors, hints, ts.ReadFile("err"))
	}
}

// nodeLine: `stdout_node NAME WORDS` wants the words in the JSON line of that node in the
// file out.
func nodeLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: stdout_node NAME WORDS")
	}
	for line := range strings.Lines(ts.ReadFile("out")) {
		if strings.HasPrefix(line, fmt.Sprintf("{\"node\":%q", args[0])) && strings.Contains(line, args[1]) {
			return
		}
	}
	ts.Fatalf("no line of node %s with %s:\n%s", args[0], args[1], ts.ReadFile("out"))
}

// gradeLetter: `letter FILE X` wants that grade in a JSON report.
func gradeLetter(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: letter FILE LETTER")
	}
	var report struct{ Grade struct{ Letter string } }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	if report.Grade.Letter != args[1] {
		ts.Fatalf("grade %q, want %q", report.Grade.Letter, args[1])
	}
}
