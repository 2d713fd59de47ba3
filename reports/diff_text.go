package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
)

// DiffJSON writes the comparison as docs/schema/diff.schema.json describes it.
func DiffJSON(w io.Writer, d Diff) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(d); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}

// DiffText writes the comparison for people: what got worse first.
func DiffText(w io.Writer, d Diff, o TextOptions) error {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	p := &page{width: min(max(o.Width, minWidth), maxWidth), paint: painter(o.Color)}
	p.diff(d)
	if _, err := io.WriteString(w, p.String()); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}

func (p *page) diff(d Diff) {
	p.diffHead(d)
	for _, part := range []struct {
		change Change
		title  string
	}{
		{ChangeWorse, "worse"},
		{ChangeBetter, "better"},
		{ChangeNew, "new: a verdict where there was none"},
		{ChangeGone, "gone: no verdict any more"},
	} {
		p.diffPart(d.Of(part.change), part.title)
	}
	p.line("")
	p.lines("", d.conclusion(), p.paint.bold)
}

func (p *page) diffHead(d Diff) {
	p.lines("", fmt.Sprintf("%s → %s", gradeOr(d.Old.Grade), gradeOr(d.New.Grade)), p.paint.bold)
	for _, s := range []struct {
		label string
		side  Side
	}{{"  before  ", d.Old}, {"  after   ", d.New}} {
		p.lines(s.label, fmt.Sprintf("%s: %s (run %s)", s.side.Deployment, s.side.Grade, s.side.Run), nil)
		if text := believed(s.side.Belief); text != "" {
			p.lines("          ", text, p.paint.dim)
		}
	}
	if len(d.Apart) == 0 {
		return
	}
	title := "the runs differ in more than the verdicts"
	if d.Old.Deployment != d.New.Deployment {
		title = "these are runs of different deployments, which may be the cause of every change"
	}
	p.line("")
	p.lines("", title, p.paint.bold)
	for _, line := range d.Apart {
		p.entry(line)
	}
}

func gradeOr(g checklist.Grade) string {
	if g.Letter == "" {
		return "no letter"
	}
	return g.Letter
}

func (p *page) diffPart(items []ItemDiff, title string) {
	if len(items) == 0 {
		return
	}
	p.line("")
	p.line(p.paint.bold(title))
	widest := 0
	for _, i := range items {
		widest = max(widest, columns(i.Item))
	}
	for _, i := range items {
		blank := strings.Repeat(" ", widest-columns(i.Item))
		p.lines("  "+i.Item+blank+"  ", fmt.Sprintf("%s → %s", i.Old.word(), i.New.word()), nil)
		if i.Old.level() > 0 {
			p.lines("      before  ", i.Old.Summary, nil)
		}
		if i.New != nil {
			p.lines("      after   ", i.New.Summary, nil)
		}
	}
}

func (v *Verdict) word() string {
	if v == nil {
		return "not on the list"
	}
	_, word := outcomeWord(checklist.Finding{Outcome: v.Outcome, Tested: v.Tested})
	if v.Harm {
		word += ", harm seen"
	}
	return word
}

// conclusion is the answer in one line.
func (d Diff) conclusion() string {
	count := func(c Change) int { return len(d.Of(c)) }
	text := fmt.Sprintf("%d worse, %d better, %d new, %d gone, %d the same",
		count(ChangeWorse), count(ChangeBetter), count(ChangeNew), count(ChangeGone), count(ChangeSame))
	if d.Letter == ChangeWorse {
		text += fmt.Sprintf("; the letter fell from %s to %s", d.Old.Grade.Letter, d.New.Grade.Letter)
	}
	return text
}
