package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T, dir string, v Variant) *Ledger {
	t.Helper()
	l, err := Open(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// step is one write and what must come of it.
type step struct {
	row, token string
	want       error
}

func TestVariants(t *testing.T) {
	tests := []struct {
		name    string
		variant Variant
		steps   []step
	}{
		{"ordered: lower is stale, equal and higher are not", Ordered, []step{
			{"r", "10", nil}, {"r", "10", nil}, {"r", "9", ErrStale}, {"r", "11", nil}, {"r", "10", ErrStale},
		}},
		{"ordered: compares numbers, not text", Ordered, []step{
			{"r", "9", nil}, {"r", "10", nil}, {"r", "9", ErrStale}, {"r", "0010", nil},
		}},
		{"ordered: beyond 64 bits", Ordered, []step{
			{"r", "340282366920938463463374607431768211455", nil}, {"r", "18446744073709551616", ErrStale},
		}},
		{"ordered: rows of one scope share the mark", Ordered, []step{
			{"canary/x", "10", nil}, {"canary/y", "9", ErrStale}, {"other/y", "9", nil},
		}},
		{"ordered: malformed", Ordered, []step{
			{"r", "", ErrToken}, {"r", "abc", ErrToken}, {"r", "-1", ErrToken}, {"r", "+1", ErrToken}, {"r", "1e3", ErrToken},
			{"r", "0x10", ErrToken}, {"r", "1_0", ErrToken}, {"r", " 1", ErrToken}, {"r", strings.Repeat("9", 65), ErrToken},
		}},
		{"none: anything goes", None, []step{
			{"r", "10", nil}, {"r", "9", nil}, {"r", "", nil}, {"r", "abc", nil},
		}},
		{"equality: the stale first writer gets in, the new holder does not", Equality, []step{
			{"r", "10", nil}, {"r", "11", ErrStale}, {"r", "10", nil}, {"r", "", ErrToken}, {"s", "11", nil}, {"s", "10", ErrStale},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := open(t, t.TempDir(), tt.variant)
			for i, s := range tt.steps {
				before, _ := l.Read(s.row)
				seq, err := l.Write(s.row, s.token, strconv.Itoa(i), "")
				if !errors.Is(err, s.want) {
					t.Fatalf("step %d: write %+v: %v", i, s, err)
				}
				after, _ := l.Read(s.row)
				want := before
				if s.want == nil {
					want = Entry{Value: strconv.Itoa(i), Token: s.token, Seq: before.Seq + 1}
				}
				if after != want || (err == nil && seq != want.Seq) {
					t.Fatalf("step %d: row is %+v, seq %d, want %+v", i, after, seq, want)
				}
			}
		})
	}
}

func TestRestartForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Ordered)
	for _, token := range []string{"7", "12"} {
		if _, err := l.Write("a/x", token, "v"+token, "op"+token); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Ordered)
	if _, err := l.Write("a/y", "11", "late", ""); !errors.Is(err, ErrStale) {
		t.Errorf("stale write after a restart: %v", err)
	}
	if e, _ := l.Read("a/x"); e != (Entry{Value: "v12", Token: "12", Seq: 2}) {
		t.Errorf("row after a restart: %+v", e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	// The owner of a row survives as well.
	l = open(t, dir, Equality)
	if _, err := l.Write("a/x", "12", "", ""); !errors.Is(err, ErrStale) {
		t.Errorf("second writer after a restart: %v", err)
	}
}

// TestOperationsAreAppliedOnce: a repeated operation changes nothing, at once,
// late, with a stale token, and after a restart; and only where it is promised.
func TestOperationsAreAppliedOnce(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Idempotent)
	write := func(l *Ledger, token, value, opID string, seq uint64) {
		t.Helper()
		if got, err := l.Write("a/x", token, value, opID); err != nil || got != seq {
			t.Fatalf("write %s: seq %d, want %d: %v", opID, got, seq, err)
		}
	}
	write(l, "7", "first", "op-1", 1)
	write(l, "7", "first", "op-1", 1)
	write(l, "9", "second", "op-2", 2)
	write(l, "7", "first", "op-1", 1)
	if e, _ := l.Read("a/x"); e != (Entry{Value: "second", Token: "9", Seq: 2}) {
		t.Errorf("row: %+v", e)
	}
	if _, err := l.Write("a/x", "7", "other", "op-3"); !errors.Is(err, ErrStale) {
		t.Errorf("another operation with the stale token: %v", err)
	}
	if got, err := l.Write("a/y", "9", "elsewhere", "op-1"); err != nil || got != 1 {
		t.Errorf("the id in another row: seq %d, %v", got, err)
	}
	write(l, "9", "third", "", 3)
	write(l, "9", "fourth", "", 4) // no id, no repetition
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Idempotent)
	write(l, "7", "first", "op-1", 1)

	ordered := open(t, t.TempDir(), Ordered)
	write(ordered, "7", "first", "op-1", 1)
	write(ordered, "7", "first", "op-1", 2)
}

func TestTornLastLine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Ordered)
	for _, token := range []string{"1", "2", "3"} {
		if _, err := l.Write("r", token, "v"+token, ""); err != nil {
			t.Fatal(err)
		}
	}
	_ = l.Close()
	path := filepath.Join(dir, logName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	start := len(lines[0]) + len(lines[1])
	for cut := start; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Ordered)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if e, _ := l.Read("r"); e.Token != "2" || e.Seq != 2 {
			t.Fatalf("cut at %d: row is %+v", cut, e)
		}
		if seq, err := l.Write("r", "4", "v4", ""); err != nil || seq != 3 {
			t.Fatalf("cut at %d: write: %d, %v", cut, seq, err)
		}
		_ = l.Close()
		l = open(t, dir, Ordered)
		if e, _ := l.Read("r"); e.Token != "4" || e.Seq != 3 {
			t.Fatalf("cut at %d: after the next write the row is %+v", cut, e)
		}
		_ = l.Close()
	}
}

func TestDamagedMiddleIsRefused(t *testing.T) {
	dir := t.TempDir()
	log := `{"row":"r","value":"","token":"1","seq":1}` + "\n###\n" + `{"row":"r","value":"","token":"2","seq":2}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, logName), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Ordered); err == nil {
		t.Fatal("a log with a damaged line in the middle was opened")
	}
}

func TestOpenOnlyOnce(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Ordered)
	if _, err := Open(dir, Ordered); err == nil {
		t.Fatal("the same directory was opened twice")
	}
	_ = l.Close()
	open(t, dir, Ordered)
}

func TestClosed(t *testing.T) {
	l := open(t, t.TempDir(), None)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Write("r", "", "", ""); err == nil {
		t.Fatal("a closed ledger accepted a write")
	}
}

// TestCheckAndWriteAreOne has many writers with ever higher tokens; the log, in
// the order of the accepted writes, may never go back.
func TestCheckAndWriteAreOne(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Ordered)
	const writers, writes = 8, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				token := strconv.Itoa(i*writers + w)
				if _, err := l.Write(fmt.Sprintf("s/%d", w), token, "", ""); err != nil && !errors.Is(err, ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_ = l.Close()
	data, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	highest, accepted := -1, 0
	if _, err := replay(data, func(r line) {
		token, _ := strconv.Atoi(r.Token)
		if token < highest {
			t.Errorf("token %d was accepted after %d", token, highest)
		}
		highest, accepted = max(highest, token), accepted+1
	}); err != nil {
		t.Fatal(err)
	}
	if accepted < writes || highest != writers*writes-1 {
		t.Errorf("%d writes accepted, highest token %d", accepted, highest)
	}
}

func TestParseVariant(t *testing.T) {
	for _, word := range []string{"ordered", "idempotent", "none", "equality"} {
		if v, err := ParseVariant(word); err != nil || string(v) != word {
			t.Errorf("ParseVariant(%q) = %q, %v", word, v, err)
		}
	}
	if _, err := ParseVariant("ordred"); err == nil {
		t.Error("an unknown variant was accepted")
	}
}

func FuzzParseOrder(f *testing.F) {
	for _, s := range []string{"", "0", "12", "-1", "+1", "1_000", "0x1", "９", " 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		order, err := parseOrder(s)
		if err != nil {
			return
		}
		if order.Sign() < 0 || order.String() != strings.TrimLeft(s[:len(s)-1], "0")+s[len(s)-1:] {
			t.Errorf("%q was read as %s", s, order)
		}
	})
}
