package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// guide is docs/guides/first-look.md, whose rights are the ones that are tested.
func guide(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/guides/first-look.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !found || !closed {
		t.Fatalf("the guide has no block of %s", language)
	}
	return strings.Split(block, "\n")
}

// looker runs init and inspect as a user does: processes of their own.
type looker struct {
	bin, dir, url string
	out           bytes.Buffer // of the last command, stdout and stderr
}

// programs builds them where lock clients, which run unprivileged, reach them.
func programs(t *testing.T) string {
	t.Helper()
	bin := buildAgent(t)
	buildAuditor(t, bin)
	return bin
}

func newLooker(t *testing.T, bin, url string) *looker {
	t.Helper()
	return &looker{bin: bin, dir: t.TempDir(), url: url}
}

func (l *looker) run(t *testing.T, args ...string) (status int, output string) {
	t.Helper()
	return l.carryOut(t, exec.Command(filepath.Join(l.bin, "lockaudit"), args...))
}

// shell runs a line as it is typed.
func (l *looker) shell(t *testing.T, line string) (output, status string) {
	t.Helper()
	code, out := l.carryOut(t, exec.Command("sh", "-c", line))
	return out, fmt.Sprintf("exit %d", code)
}

func (l *looker) carryOut(t *testing.T, cmd *exec.Cmd) (status int, output string) {
	t.Helper()
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "PATH="+l.bin+":"+os.Getenv("PATH"), "LOCKAUDIT_STATE="+filepath.Join(l.dir, "state"), "LOCKAUDIT_PASSWORD="+lookPassword)
	l.out.Reset()
	cmd.Stdout, cmd.Stderr = &l.out, &l.out
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), l.out.String()
}

// init looks, for a moment only, and leaves plan.yaml.
func (l *looker) init(t *testing.T, args ...string) (int, string) {
	t.Helper()
	return l.run(t, append([]string{"init", l.url, "--watch", "300ms", "--force"}, args...)...)
}

// inspect runs the plan that init has left, shortened.
func (l *looker) inspect(t *testing.T) (int, string) {
	t.Helper()
	l.plan(t, regexp.MustCompile(`(?m)^measure_for: \S+`).ReplaceAllString(l.readPlan(t), "measure_for: 1s"))
	return l.run(t, "inspect", "plan.yaml")
}

func (l *looker) readPlan(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, "plan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (l *looker) plan(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, "plan.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	lookPassword = "nur-lesen"
	// heldBy is the value of the lock, with which it could be released.
	heldBy = "5f0c9a11-7c8a-4c5c-9f26-0fbd4b8a3a8b"
)

// TestFirstLook runs init and inspect as a user does; the programs are built once.
func TestFirstLook(t *testing.T) {
	bin := programs(t)
	t.Run("redis", func(t *testing.T) { lookAtRedis(t, bin) })
	t.Run("sentinel", func(t *testing.T) { lookBySentinels(t, bin) })
	t.Run("etcd", func(t *testing.T) { lookAtEtcd(t, bin) })
	t.Run("postgres", func(t *testing.T) { lookAtPostgres(t, bin) })
	t.Run("as written", func(t *testing.T) { lookAsWritten(t, bin) })
	t.Run("private authority", func(t *testing.T) { lookWithTLS(t, bin) })
	t.Run("private authority of postgres", func(t *testing.T) { lookAtPostgresWithTLS(t, bin) })
}

// lookAtRedis runs init and inspect under exactly the guide's ACL, and then with each
// of its rights taken away.
func lookAtRedis(t *testing.T, bin string) {
	admin, address := filledRedis(t)
	rights := redisRights(t)
	grant(t, admin, "lockaudit", rights)
	l := newLooker(t, bin, "redis://lockaudit@"+address)
	t.Run("changes nothing", func(t *testing.T) { redisUnchanged(t, l, admin, rights) })
	plan := l.readPlan(t)
	for i, right := range rights {
		t.Run("without "+right, func(t *testing.T) {
			t.Parallel()
			user := fmt.Sprintf("without-%d", i)
			l := newLooker(t, bin, "redis://"+user+"@"+address)
			run := l.init
			if slices.Contains([]string{"+get", "+multi", "+exec"}, right) { // inspect's alone
				l.plan(t, strings.Replace(plan, `username: "lockaudit"`, "username: "+user, 1))
				run = func(t *testing.T, _ ...string) (int, string) { return l.inspect(t) }
			}
			grant(t, admin, user, slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == right }))
			want := "needs the permission " + right
			if right == "%R~*" {
				want = "needs the permission %R~/locks/billing"
			}
			if _, out := run(t); !strings.Contains(out, want+":") && !strings.Contains(out, want+"\n") {
				t.Errorf("without it nothing says %q:\n%s", want, out)
			}
		})
	}
}

// redisUnchanged: the store is the same afterwards, and the server has seen no command
// that is not in the guide's ACL.
func redisUnchanged(t *testing.T, l *looker, admin *redis.Client, rights []string) {
	before := redisContents(t, admin)
	do(t, admin, "CONFIG", "RESETSTAT")
	changes := infoField(t, admin, "rdb_changes_since_last_save")

	if status, out := l.init(t); status != exitOK || !strings.Contains(out, "/locks/billing") {
		t.Fatalf("init: status %d\n%s", status, out)
	}
	if status, out := l.run(t, "plan", "plan.yaml"); status != exitOK {
		t.Fatalf("plan: status %d\n%s", status, out)
	}
	status, out := l.inspect(t)
	if status != exitFail || !strings.Contains(out, "no letter") { // a single Redis is a failure
		t.Fatalf("inspect: status %d\n%s", status, out)
	}
	if strings.Contains(out, "needs the permission") || strings.Contains(out, "did not run as planned") {
		t.Errorf("the guide's rights are not enough:\n%s", out)
	}
	for command, line := range commandStats(t, admin) {
		if !slices.Contains(rights, "+"+command) && !slices.Contains([]string{"hello", "auth", "config|resetstat"}, command) {
			t.Errorf("command outside the guide's rights: %s %s", command, line)
		}
		if command != "ping" && !strings.Contains(line, "rejected_calls=0") { // PING is tried without a password too
			t.Errorf("command refused: %s %s", command, line)
		}
	}
	if now := infoField(t, admin, "rdb_changes_since_last_save"); now != changes {
		t.Errorf("the server counts changes: %s before, %s after", changes, now)
	}
	if after := redisContents(t, admin); after != before {
		t.Errorf("the store is not as it was:\n%s\n---\n%s", before, after)
	}
	noSecrets(t, l.dir)
}

// redisRights are the permissions of the guide, without the user's own words.
func redisRights(t *testing.T) []string {
	t.Helper()
	lines := guide(t, "redis")
	words := strings.Fields(lines[0])
	head := []string{"ACL", "SETUSER", "lockaudit", "reset", "on", ">PASSWORD"}
	if len(lines) != 1 || !slices.Equal(words[:len(head)], head) {
		t.Fatalf("the guide's ACL is not one line that begins with %q: %q", head, lines)
	}
	return words[len(head):]
}

func grant(t *testing.T, admin *redis.Client, user string, rights []string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", user, "reset", "on", ">" + lookPassword}
	for _, r := range rights {
		args = append(args, r)
	}
	if len(rights) > 0 && rights[0] != "%R~*" { // the one that is missing: something else may be read
		args = append(args, "%R~nothing-of-interest")
	}
	do(t, admin, args...)
}

func do(t *testing.T, c *redis.Client, args ...any) *redis.Cmd {
	t.Helper()
	cmd := c.Do(context.Background(), args...)
	if err := cmd.Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return cmd
}

// filledRedis is a server with a password, locks, and much that is no lock.
func filledRedis(t *testing.T) (admin *redis.Client, address string) {
	t.Helper()
	s := servers.StartRedis(t, "--requirepass", "der-chef")
	admin = redis.NewClient(&redis.Options{Addr: s.Endpoint, Password: "der-chef"})
	t.Cleanup(func() { _ = admin.Close() })
	ctx := context.Background()
	_, err := admin.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Do(ctx, "SET", "/locks/billing", heldBy, "EX", 600)
		p.Do(ctx, "HSET", "redisson_lock", "3b2f2a6e-7c8a-4c5c-9f26-0fbd4b8a3a8b:1", 1)
		p.Do(ctx, "EXPIRE", "redisson_lock", 600)
		p.Do(ctx, "RPUSH", "queue", "a", "b")
		p.Do(ctx, "SADD", "set", "a", "b")
		p.Do(ctx, "ZADD", "sorted", 1, "a")
		p.Do(ctx, "XADD", "stream", "1-1", "a", "b")
		p.Do(ctx, "SET", "a binary\x00key\xff", "x")
		for i := range 1200 {
			p.Do(ctx, "SET", fmt.Sprintf("cache:%d", i), `{"a":1}`, "EX", 1000+i)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return admin, s.Endpoint
}

// redisContents is every key as the server would move it to another one, with the
// moment at which it expires.
func redisContents(t *testing.T, admin *redis.Client) string {
	t.Helper()
	ctx := context.Background()
	keys, err := admin.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		dump, err := admin.Dump(ctx, k).Result()
		if err != nil {
			t.Fatal(err)
		}
		at, err := admin.Do(ctx, "PEXPIRETIME", k).Int64()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%q %d %x\n", k, at, dump)
	}
	if len(keys) < 1200 {
		t.Fatalf("%d keys: the comparison would show little", len(keys))
	}
	return b.String()
}

// commandStats are the commands that were called since the last reset, by name.
func commandStats(t *testing.T, admin *redis.Client) map[string]string {
	t.Helper()
	text, err := admin.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":"); ok && strings.HasPrefix(line, "cmdstat_") {
			out[name] = rest
		}
	}
	if out["scan"] == "" || out["get"] == "" {
		t.Fatalf("init and inspect did not come this far: %v", out)
	}
	return out
}

func infoField(t *testing.T, admin *redis.Client, name string) string {
	t.Helper()
	text, err := admin.Info(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == name {
			return value
		}
	}
	t.Fatalf("INFO has no %s", name)
	return ""
}

// noSecrets: neither the plan nor the record has the password, or the value with which
// a lock could be released.
func noSecrets(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range []string{lookPassword, heldBy, "3b2f2a6e"} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s has %q in it", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
