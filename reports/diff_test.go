package reports

import (
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestDiffGolden(t *testing.T) {
	before, after := report(t, "etcd-unfenced"), report(t, "etcd-ordered")
	for name, d := range map[string]Diff{"diff-better": Compare(before, after), "diff-worse": Compare(after, before), "diff-same": Compare(before, before)} {
		golden(t, name+".txt", []byte(render(t, func(w io.Writer) error { return DiffText(w, d, TextOptions{Width: 100}) })))
		golden(t, name+".json", []byte(render(t, func(w io.Writer) error { return DiffJSON(w, d) })))
	}
}

func TestChanges(t *testing.T) {
	open := &Verdict{}
	none := &Verdict{Outcome: checklist.NotApplicable}
	pass := &Verdict{Outcome: checklist.Pass}
	warn := &Verdict{Outcome: checklist.Warn}
	fail := &Verdict{Outcome: checklist.Fail}
	harm := &Verdict{Outcome: checklist.Fail, Harm: true}
	for _, tt := range []struct {
		old, now *Verdict
		want     Change
	}{
		{pass, warn, ChangeWorse}, {pass, fail, ChangeWorse}, {warn, fail, ChangeWorse}, {fail, harm, ChangeWorse},
		{warn, pass, ChangeBetter}, {fail, pass, ChangeBetter}, {harm, fail, ChangeBetter}, {harm, warn, ChangeBetter},
		{open, pass, ChangeNew}, {nil, fail, ChangeNew}, {none, harm, ChangeNew},
		{pass, open, ChangeGone}, {fail, nil, ChangeGone}, {harm, none, ChangeGone}, // not better
		{pass, pass, ChangeSame}, {harm, harm, ChangeSame}, {open, nil, ChangeSame}, {nil, none, ChangeSame},
	} {
		if got := changeOf(tt.old, tt.now); got != tt.want {
			t.Errorf("%+v → %+v: %s, want %s", tt.old, tt.now, got, tt.want)
		}
	}
	for _, tt := range []struct {
		old, now string
		want     Change
	}{{"F", "A", ChangeBetter}, {"A", "B", ChangeWorse}, {"", "A", ChangeNew}, {"D", "", ChangeGone}, {"C", "C", ChangeSame}, {"", "", ChangeSame}} {
		if got := letterChange(tt.old, tt.now); got != tt.want {
			t.Errorf("%q → %q: %s, want %s", tt.old, tt.now, got, tt.want)
		}
	}
}

// TestDiffWorse: only what got worse makes it so, and a letter that falls by an item
// that was not tested before does too.
func TestDiffWorse(t *testing.T) {
	good := report(t, "etcd-ordered")
	if Compare(good, good).Worse || Compare(report(t, "etcd-unfenced"), good).Worse {
		t.Error("the same or a better run is called worse")
	}
	if !Compare(good, report(t, "etcd-unfenced")).Worse {
		t.Error("an unfenced run is not called worse than a fenced one")
	}
	// One item may be worse while the letter stays.
	worse := report(t, "etcd-ordered")
	find(worse.Findings, "fencing_enforced").Outcome = checklist.Warn
	if d := Compare(good, worse); !d.Worse || d.Letter != ChangeSame {
		t.Errorf("an item that got worse: %+v", d)
	}
	now := report(t, "etcd-ordered")
	find(now.Findings, effectsItem).Outcome = checklist.Fail
	now.Grade.Letter = "D"
	d := Compare(good, now)
	if len(d.Of(ChangeWorse)) != 0 || len(d.Of(ChangeNew)) != 1 || !d.Worse {
		t.Errorf("a new failure that costs the letter: %+v", d)
	}
	if text := d.conclusion(); !strings.Contains(text, "the letter fell from "+good.Grade.Letter+" to D") {
		t.Error(text)
	}
}

func TestDiffFollowsItsSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	s, err := c.Compile(filepath.Join("..", "docs", "schema", "diff.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := Compare(report(t, "etcd-unfenced"), report(t, "etcd-ordered"))
	d.Items[0].Old = nil
	text := render(t, func(w io.Writer) error { return DiffJSON(w, d) })
	if err := validate(t, s, text); err != nil {
		t.Error(err)
	}
	nothing := record.Run{Manifest: record.Manifest{Format: record.Format}}
	empty := New(nothing, nil, checklist.GradeOf(nil, nothing))
	if err := validate(t, s, render(t, func(w io.Writer) error { return DiffJSON(w, Compare(empty, empty)) })); err != nil {
		t.Errorf("empty reports: %v", err)
	}
	var whole map[string]any
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		t.Fatal(err)
	}
	item := whole["items"].([]any)[1].(map[string]any)
	for _, object := range []map[string]any{whole, whole["old"].(map[string]any), item, item["new"].(map[string]any)} {
		object["surprise"] = 1
		if text, _ := json.Marshal(whole); validate(t, s, string(text)) == nil {
			t.Error("the schema accepts an unknown key")
		}
		delete(object, "surprise")
	}
}
