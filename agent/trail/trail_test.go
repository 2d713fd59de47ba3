package trail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *Log, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Append(Entry{Who: Caller(), Event: Inject, Result: OK, Fault: fmt.Sprintf("%012x", i), Kind: "pause"}); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, dir string) (Chain, []Record) {
	t.Helper()
	var all []Record
	c, err := Read(dir, func(r Record) { all = append(all, r) })
	if err != nil {
		t.Fatal(err)
	}
	return c, all
}

func file(dir string) string { return filepath.Join(dir, current) }

func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestChainHoldsOverRestarts(t *testing.T) {
	dir := t.TempDir()
	for range 3 { // each an agent's life
		l := open(t, dir)
		add(t, l, 3)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c, all := read(t, dir)
	if c.Broken != nil || c.Records != 9 || c.First != 1 || c.Last != 9 || c.Head != all[8].Sum || len(c.Torn) != 0 {
		t.Errorf("%+v", c)
	}
	r := all[4]
	if r.Prev != all[3].Sum || r.Who.UID != os.Getuid() || r.BootID == "" || r.Raw == 0 || time.Since(r.Time) > time.Hour {
		t.Errorf("%+v", r)
	}
	if st, err := os.Stat(file(dir)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// TestTampering: whatever is done to a line in the middle, the line is named.
func TestTampering(t *testing.T) {
	resum := func(line string) string { // as somebody who knows the format would
		at := strings.Index(line, sumField)
		return line[:at] + sumField + hexSum([]byte(line[:at])) + `"}`
	}
	otherDigit := func(line string) string { // the last digit of the sum is another one, whatever it was
		at, digit := len(line)-3, "0"
		if line[at] == '0' {
			digit = "1"
		}
		return line[:at] + digit + line[at+1:]
	}
	for name, x := range map[string]struct {
		change func(l []string) []string
		line   int
	}{
		"a word":             {func(l []string) []string { l[3] = strings.Replace(l[3], `"ok"`, `"refused"`, 1); return l }, 4},
		"a word and its sum": {func(l []string) []string { l[3] = resum(strings.Replace(l[3], `"pause"`, `"clock"`, 1)); return l }, 5},
		"taken out":          {func(l []string) []string { return append(l[:3], l[4:]...) }, 4},
		"put in":             {func(l []string) []string { return append(l[:4], append([]string{l[3]}, l[4:]...)...) }, 5},
		"swapped":            {func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }, 4},
		"emptied":            {func(l []string) []string { l[3] = ""; return l }, 4},
		"cut off":            {func(l []string) []string { l[3] = l[3][:40]; return l }, 4},
		"the last one":       {func(l []string) []string { l[7] = strings.Replace(l[7], `"ok"`, `"failed"`, 1); return l }, 8},
		"another sum":        {func(l []string) []string { l[7] = otherDigit(l[7]); return l }, 8},
		"an unknown field":   {func(l []string) []string { l[7] = resum(strings.Replace(l[7], `"kind"`, `"kynd"`, 1)); return l }, 8},
		"begins later": {func(l []string) []string {
			l[0] = resum(strings.Replace(l[0], `"prev":"0`, `"prev":"1`, 1))
			return l[:1]
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			add(t, l, 8)
			write(t, file(dir), strings.Join(x.change(lines(t, file(dir))), "\n")+"\n")
			if c, _ := read(t, dir); c.Broken == nil || c.Broken.Line != x.line || c.Broken.File != current {
				t.Errorf("broken %+v, want line %d", c.Broken, x.line)
			}
		})
	}
	t.Run("nothing is added to a last line that is wrong", func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, dir)
		add(t, l, 2)
		write(t, file(dir), strings.Replace(strings.Join(lines(t, file(dir)), "\n")+"\n", `"seq":2`, `"seq":3`, 1))
		if _, err := open(t, dir).Append(Entry{Event: Halt}); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("append: %v", err)
		}
	})
}

// TestTorn: a record that a crash cut off anywhere is told apart, and the chain goes on.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, 3)
	whole := lines(t, file(dir))
	last := whole[2]
	for _, n := range []int{1, 5, len(last) / 2, len(last) - 1, len(last)} {
		for _, zeros := range []string{"", "\x00\x00\x00"} {
			if n == len(last) && zeros != "" {
				continue
			}
			write(t, file(dir), whole[0]+"\n"+whole[1]+"\n"+last[:n]+zeros)
			c, _ := read(t, dir)
			if full := n == len(last); c.Broken != nil || (len(c.Torn) == 1) == full {
				t.Fatalf("cut off after %d: %+v", n, c)
			}
			add(t, open(t, dir), 2)
			c, all := read(t, dir)
			if c.Broken != nil || len(c.Torn) > 1 || c.Last != uint64(len(all)) {
				t.Fatalf("cut off after %d, then more: %+v", n, c)
			}
			if len(c.Torn) == 1 && n > 1 { // what was cut off is told apart from anything else of its length
				l := lines(t, file(dir))
				l[2] = "[" + l[2][1:]
				write(t, file(dir), strings.Join(l, "\n")+"\n")
				if c, _ := read(t, dir); c.Broken == nil || c.Broken.Line != 3 {
					t.Fatalf("another rest of a line: %+v", c)
				}
			}
		}
	}
	// The same bytes are tampering where no crash leaves them: in the middle, with
	// nobody who has seen them, or of another record.
	write(t, file(dir), whole[0]+"\n"+last[:30]+"\n"+whole[1]+"\n"+last+"\n")
	if c, _ := read(t, dir); c.Broken == nil || c.Broken.Line != 2 {
		t.Errorf("in the middle: %+v", c)
	}
	write(t, file(dir), whole[0]+"\n"+whole[1]+"\n"+"something else")
	if c, _ := read(t, dir); c.Broken == nil || c.Broken.Line != 3 {
		t.Errorf("not a record's beginning: %+v", c)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.limit, l.keep = 4096, 3
	add(t, l, 100)
	list, err := files(dir)
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, f := range list {
		if st, err := os.Stat(f); err != nil || st.Size() > 4096 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
	c, _ := read(t, dir)
	if c.Broken != nil || c.Last != 100 || c.First <= 1 || c.Files != 3 {
		t.Errorf("%+v", c)
	}
	old, next := lines(t, list[0]), lines(t, list[1])
	a, err := Decode([]byte(old[len(old)-1]))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Decode([]byte(next[0])); err != nil || b.Prev != a.Sum {
		t.Errorf("the new file begins with %v, %v, want the sum of the old one's last", b.Prev, err)
	}
	// A new process goes on where a crash between the two files left it.
	if err := os.Rename(file(dir), rotated(dir, 100)); err != nil {
		t.Fatal(err)
	}
	add(t, open(t, dir), 1)
	if c, _ := read(t, dir); c.Broken != nil || c.Last != 101 {
		t.Errorf("after a crash in a rotation: %+v", c)
	}
	if err := os.Remove(list[1]); err != nil {
		t.Fatal(err)
	}
	if c, _ := read(t, dir); c.Broken == nil || c.Broken.Line != 1 {
		t.Errorf("a file was taken out: %+v", c)
	}
}

// TestSeveralWriters: guard and commands write at once.
func TestSeveralWriters(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 4 {
		l := open(t, dir)
		l.limit = 20000
		all.Go(func() {
			for range 25 {
				if _, err := l.Append(Entry{Event: Revert, Result: OK}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if c, _ := read(t, dir); c.Broken != nil || c.Last != 100 {
		t.Errorf("%+v", c)
	}
}

// TestWriterThatHangs: who holds the lock for ever holds nobody up for ever.
func TestWriterThatHangs(t *testing.T) {
	dir := t.TempDir()
	l, other := open(t, dir), open(t, dir)
	if err := unix.Flock(int(other.lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(Entry{Event: Inject}); err == nil || !strings.Contains(err.Error(), "another process holds it") {
		t.Errorf("append: %v", err)
	}
}

// TestFullDisk: no part of a record that did not fit stays behind.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k,mode=700"); err != nil {
		t.Fatalf("mount a small disk: %v; run this as root", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	l := open(t, dir)
	defer l.Close()
	var full error
	n := 0
	for ; full == nil && n < 1000; n++ {
		_, full = l.Append(Entry{Event: Inject, Detail: strings.Repeat("x", 200)})
	}
	if full == nil || !strings.Contains(full.Error(), "no space left") {
		t.Fatalf("append: %v", full)
	}
	if c, _ := read(t, dir); c.Broken != nil || c.Last != uint64(n-1) || len(c.Torn) != 0 {
		t.Errorf("%+v after %d records", c, n-1)
	}
	if err := os.Remove(filepath.Join(dir, lockTo)); err != nil { // some room
		t.Fatal(err)
	}
}

func TestOthersMayNotWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("open: %v", err)
	}
}

// TestNoSecrets: nothing that looks like a secret gets into the file.
func TestNoSecrets(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	e := Entry{Event: Inject, Result: Refused, Who: Who{Plan: "x", Run: "password=hunter2"},
		Objects: []string{`run failover --db-password hunter2 --user bob`, "connect redis://u:hunter2@10.0.0.1:6379/0"},
		Why:     "API_KEY: hunter2", Detail: "candidates: 12 (java -Dtoken=hunter2 -jar x), curl -H 'Authorization: Bearer hunter2hunter2'\x1b[2J\n{\"seq\":1}"}
	if _, err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file(dir))
	if err != nil || bytes.Contains(b, []byte("hunter2")) || bytes.Count(b, []byte("\n")) != 1 || bytes.Contains(b, []byte(`\u001b`)) {
		t.Errorf("%s, %v", b, err)
	}
	for _, kept := range []string{"run failover --db-password", "--user bob", "redis://u:", "@10.0.0.1:6379/0", "-jar x"} {
		if !bytes.Contains(b, []byte(kept)) {
			t.Errorf("%s lacks %q", b, kept)
		}
	}
}

// TestEachKindOfSecret has each alone, so that the quick look lets none pass.
func TestEachKindOfSecret(t *testing.T) {
	for _, text := range []string{
		"redis://u:hunter2hunter2@10.0.0.1", "Bearer hunter2hunter2", "BASIC hunter2hunter2", "password: hunter2hunter2", "DB_PASSWD=hunter2hunter2",
		"passphrase 'hunter2hunter2'", "Secret=hunter2hunter2", "credential hunter2hunter2", "--auth-token hunter2hunter2",
		"api_key=hunter2hunter2", "accessKey: hunter2hunter2", "PRIVATE-KEY hunter2hunter2", "\u017fecret=hunter2hunter2",
	} {
		if got := clean(text); strings.Contains(got, "hunter2") {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestLongRecordIsCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	e := Entry{Event: Inject, Detail: strings.Repeat("\x00<", 1<<20)}
	for range 500 {
		e.Objects = append(e.Objects, strings.Repeat("<&>", 4000))
	}
	if _, err := l.Append(e); err != nil {
		t.Fatal(err)
	}
	add(t, l, 1)
	if c, _ := read(t, dir); c.Broken != nil || c.Last != 2 {
		t.Errorf("%+v", c)
	}
	if n := len(lines(t, file(dir))[0]); n > maxLine {
		t.Errorf("a line of %d bytes", n)
	}
}

// TestCallerOverSudo: the user and connection behind sudo are found above.
func TestCallerOverSudo(t *testing.T) {
	if os.Getenv("TRAIL_TEST_CALLER") != "" {
		b, _ := json.Marshal(Caller())
		fmt.Println(string(b))
		os.Exit(0)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// env takes out what sudo would take out, in a process below one that has it.
	cmd := exec.Command("sh", "-c", `env -u SSH_CONNECTION "$0" -test.run '^TestCallerOverSudo$'; true`, exe)
	cmd.Env = append(os.Environ(), "TRAIL_TEST_CALLER=1", "SUDO_USER=alice", "SSH_CONNECTION=10.0.0.9 51234 10.0.0.5 22")
	out, err := cmd.Output()
	var w Who
	if err == nil {
		err = json.Unmarshal(out, &w)
	}
	if err != nil || w.SudoUser != "alice" || w.SSH != "10.0.0.9 51234 10.0.0.5 22" || w.UID != os.Getuid() {
		t.Errorf("%s: %+v, %v", out, w, err)
	}
	if s := w.String(); !strings.Contains(s, "by sudo of alice from 10.0.0.9") {
		t.Error(s)
	}
}

func FuzzDecode(f *testing.F) {
	line, _, err := encode(Record{Version: version, Seq: 1, BootID: "b", Prev: noSum, Entry: Entry{Event: Inject, Objects: []string{"x"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add(line[:len(line)/2])
	f.Add([]byte(`{"v":1,"seq":1,"prev":"","sum":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err == nil && (r.Seq == 0 || hexSum(b[:len(b)-len(sumField)-66]) != r.Sum) {
			t.Errorf("%q: %+v", b, r)
		}
	})
}

// FuzzRead: any bytes for a log are read to their end, and a chain that holds can
// be continued.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	l, err := Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	for range 2 {
		if _, err := l.Append(Entry{Event: Inject, Result: OK}); err != nil {
			f.Fatal(err)
		}
	}
	l.Close()
	b, err := os.ReadFile(file(dir))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-20])
	f.Add([]byte("\n\n\x00"))
	f.Add([]byte("junk\n{\"v\":1,\"seq\":1,"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		write(t, file(dir), string(b))
		c, err := Read(dir, func(Record) {})
		if err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := l.Append(Entry{Event: Halt, Result: OK}); err != nil || c.Broken != nil {
			return
		}
		if c, err := Read(dir, func(Record) {}); err != nil || c.Broken != nil {
			t.Errorf("%q: after one more record %+v, %v", b, c, err)
		}
	})
}
