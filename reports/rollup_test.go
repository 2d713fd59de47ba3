package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/record"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// rolled is a rollup of fixtures: good, bad and waived, a fault that remains, and one that
// could not be audited.
func rolled(t *testing.T) Rollup {
	t.Helper()
	start := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	g := record.Group{Format: 1, ID: "2026-11-24T090000Z-shop", Name: "shop", Tool: "v1.0.0", Started: start, Finished: start.Add(9 * time.Minute)}
	var all []*Report
	add := func(m record.Member, r *Report) {
		g.Locks = append(g.Locks, m)
		all = append(all, r)
	}
	good := report(t, "etcd-ordered")
	add(record.Member{Name: "orders", Run: "2026-11-24T090000Z-orders"}, &good)
	_, waived := waivedRun(t)
	add(record.Member{Name: "billing", Run: "2026-11-24T090200Z-billing", Owner: waived.Run.Subject.Owner}, &waived)
	bad := report(t, "redis-single")
	add(record.Member{Name: "stock", Run: "2026-11-24T090400Z-stock", Owner: record.Owner{Contact: "stock@example.com"}}, &bad)
	add(record.Member{Name: "mail", Owner: record.Owner{Team: "mail"}, Err: "reach node app-m: not reachable: ssh: connection refused"}, nil)
	return NewRollup(g, all)
}

// rollups are those of the tests, by name.
func rollups(t *testing.T) map[string]Rollup {
	t.Helper()
	good := report(t, "etcd-ordered")
	left := report(t, "residue")
	one := record.Group{Format: 1, ID: "r", Name: "one", Tool: "v1", Locks: []record.Member{{Name: "orders", Run: "r-orders"}}}
	two := record.Group{Format: 1, ID: "r", Name: "two", Tool: "v1", Locks: []record.Member{
		{Name: "cut-off", Run: "r-cut-off", Err: "interrupted"}, {Name: "orders", Err: record.NotReached}}}
	return map[string]Rollup{
		"rollup": rolled(t), "rollup-good": NewRollup(one, []*Report{&good}), "rollup-residue": NewRollup(two, []*Report{&left, nil}),
	}
}

func TestRollupGolden(t *testing.T) {
	for name, r := range rollups(t) {
		for width, file := range map[int]string{60: name + "-60.txt", 100: name + "-100.txt"} {
			golden(t, file, []byte(render(t, func(w io.Writer) error { return RollupText(w, r, TextOptions{Width: width}) })))
		}
		golden(t, name+".html", []byte(render(t, func(w io.Writer) error { return RollupHTML(w, r) })))
		golden(t, name+".md", []byte(render(t, func(w io.Writer) error { return RollupMarkdown(w, r) })))
		golden(t, name+".xml", []byte(render(t, func(w io.Writer) error { return RollupJUnit(w, r) })))
	}
}

func TestRollupLeadsWithTheWorst(t *testing.T) {
	r := rolled(t)
	if r.Letter != "F" || !strings.HasPrefix(r.Headline, "4 locks: 1 B, 2 F, 1 not audited; ") {
		t.Errorf("%s: %s", r.Letter, r.Headline)
	}
	all := rollups(t)
	if good := all["rollup-good"]; good.Letter != good.Locks[0].letter() || strings.Contains(good.Headline, "not audited") {
		t.Errorf("%s: %s", good.Letter, good.Headline)
	}
	left := all["rollup-residue"]
	if !strings.Contains(left.Headline, "a fault may still be in effect") || len(left.residue()) == 0 {
		t.Errorf("%s", left.Headline)
	}
	// Neither order nor a lock without a letter makes it better.
	g := record.Group{Locks: []record.Member{{Name: "a"}, {Name: "b"}, {Name: "c"}}}
	good, bad := report(t, "etcd-ordered"), report(t, "redis-single")
	bad.Grade.Letter, good.Grade.Letter = "C", "B"
	if r := NewRollup(g, []*Report{&bad, nil, &good}); r.Letter != "C" {
		t.Errorf("letter %q", r.Letter)
	}
	if r := NewRollup(g, []*Report{nil, &good, &bad}); r.Letter != "C" {
		t.Errorf("letter %q", r.Letter)
	}
	if r := NewRollup(g, []*Report{nil, nil, nil}); r.Letter != "" || r.Headline != "3 locks: 3 not audited" {
		t.Errorf("%q %q", r.Letter, r.Headline)
	}
}

func TestRollupJSONFollowsTheSchema(t *testing.T) {
	s := schemaOf(t, "rollup.schema.json")
	for name, r := range rollups(t) {
		text := render(t, func(w io.Writer) error { return RollupJSON(w, r) })
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var whole map[string]any
		if err := json.Unmarshal([]byte(text), &whole); err != nil {
			t.Fatal(err)
		}
		whole["locks"].([]any)[0].(map[string]any)["surprise"] = 1
		if data, _ := json.Marshal(whole); validate(t, s, string(data)) == nil {
			t.Error("the schema accepts an unknown key of a lock")
		}
	}
}

// schemaOf compiles a schema that refers to others by their address.
func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, other := range []string{"report.schema.json", "diff.schema.json"} {
		file, err := os.Open(filepath.Join("..", "docs", "schema", other))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(file)
		if err == nil {
			err = c.AddResource("https://github.com/lockaudit/lockaudit/docs/schema/"+other, doc)
		}
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(filepath.Join("..", "docs", "schema", name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRollupDiff: locks are compared by name, whatever their order.
func TestRollupDiff(t *testing.T) {
	now := rolled(t)
	old := rolled(t)
	good := report(t, "etcd-ordered")
	slices.Reverse(old.Locks)   // mail, stock, billing, orders
	old.Locks[2].Report = &good // billing was good once
	old.Locks = append(old.Locks, RolledLock{Name: "left", Report: &good})
	now.Locks = append(now.Locks, RolledLock{Name: "fresh", Report: &good})
	d := CompareRollups(old, now)
	want := map[string]Change{"orders": ChangeSame, "billing": ChangeWorse, "stock": ChangeSame, "mail": ChangeSame, "fresh": ChangeNew, "left": ChangeGone}
	for _, l := range d.Locks {
		if want[l.Name] != l.Change {
			t.Errorf("%s: %s, want %s", l.Name, l.Change, want[l.Name])
		}
		delete(want, l.Name)
	}
	if len(want) > 0 || !d.Worse || CompareRollups(now, old).Worse {
		t.Errorf("left out: %v, worse: %v", want, d.Worse)
	}
	golden(t, "rollup-diff.txt", []byte(render(t, func(w io.Writer) error { return RollupDiffText(w, d, TextOptions{Width: 100}) })))
	if err := validate(t, schemaOf(t, "rollup-diff.schema.json"), render(t, func(w io.Writer) error { return RollupDiffJSON(w, d) })); err != nil {
		t.Error(err)
	}
}

// TestRollupJUnit: a suite for each lock, and what was not audited is an error.
func TestRollupJUnit(t *testing.T) {
	var s junitSuites
	if err := xml.Unmarshal([]byte(render(t, func(w io.Writer) error { return RollupJUnit(w, rolled(t)) })), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Suites) != 4 || s.Errors != 1 || s.Suites[3].Errors != 1 || s.Suites[3].Name != "mail" || s.Suites[0].Failures != 0 || s.Suites[2].Failures == 0 {
		t.Errorf("%+v", s)
	}
	sum := 0
	for _, suite := range s.Suites {
		sum += suite.Tests
	}
	if sum != s.Tests {
		t.Errorf("%d tests in the suites, %d in all", sum, s.Tests)
	}
}

// hostileRollup has foreign text wherever it can come from.
func hostileRollup(t *testing.T) Rollup {
	r := rolled(t)
	_, bad := hostileRun(t)
	r.Name, r.ID, r.Tool, r.Headline = hostile, hostile, hostile, hostile
	r.Locks[1].Report = &bad
	for i := range r.Locks {
		l := &r.Locks[i]
		l.Name, l.Owner = hostile, record.Owner{Team: hostile, Contact: hostile}
		if i != 1 {
			l.Err = hostile
		}
	}
	return r
}

func TestRollupForeignTextStaysText(t *testing.T) {
	r := hostileRollup(t)
	page := render(t, func(w io.Writer) error { return RollupHTML(w, r) })
	md := withoutCode(render(t, func(w io.Writer) error { return RollupMarkdown(w, r) }))
	for _, bad := range []string{"<script", "<img", "\x1b", "\x00", "ZgotmplZ"} {
		if strings.Contains(page, bad) || strings.Contains(md, bad) {
			t.Errorf("the page or the comment has %q", bad)
		}
	}
	if strings.Contains(md, "@everyone") || strings.Contains(md, "[a](") {
		t.Error("the comment mentions or links")
	}
	var back junitSuites
	if err := xml.Unmarshal([]byte(render(t, func(w io.Writer) error { return RollupJUnit(w, r) })), &back); err != nil {
		t.Errorf("not XML: %v", err)
	}
	for width := 60; width <= 140; width += 20 {
		var plain, colored bytes.Buffer
		if err := RollupText(&plain, r, TextOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		if err := RollupText(&colored, r, TextOptions{Width: width, Color: true}); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(plain.String(), "\x1b\x00\r") {
			t.Errorf("control characters at %d", width)
		}
		if stripped := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(colored.String(), ""); stripped != plain.String() {
			t.Errorf("colour changes the text at %d", width)
		}
		for line := range strings.Lines(plain.String()) {
			if n := columns(strings.TrimRight(line, "\n")); n > width {
				t.Errorf("%d columns of %d: %q", n, width, line)
			}
		}
	}
}

// TestRollupInTheBrowser: as TestInTheBrowser, and its links lead to the locks' reports.
func TestRollupInTheBrowser(t *testing.T) {
	b := newBrowser(t)
	all := rollups(t)
	all["hostile"] = hostileRollup(t)
	for name, r := range all {
		url := b.open(render(t, func(w io.Writer) error { return RollupHTML(w, r) }))
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{320, 400, 761, 1280} {
				b.show(width, "screen", scheme)
				for _, wrong := range eval[[]string](b, look) {
					t.Errorf("%s, %d px, %s: %s", name, width, scheme, wrong)
				}
			}
		}
		said, requests := b.heard()
		if len(said) > 0 || slices.ContainsFunc(requests, func(u string) bool { return u != url && !strings.HasPrefix(u, "data:") }) {
			t.Errorf("%s: the console %q, requests %q", name, said, requests)
		}
		links := eval[[]string](b, `[...document.querySelectorAll("a")].map(a => a.getAttribute("href")).filter(h => !h.startsWith("#"))`)
		var want []string
		for _, l := range r.Locks {
			if l.Report != nil {
				want = append(want, l.Run+"/report.html")
			}
		}
		if !slices.Equal(links, want) {
			t.Errorf("%s: links %q, want %q", name, links, want)
		}
	}
}
