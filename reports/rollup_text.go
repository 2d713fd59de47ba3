package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
)

// RollupText writes the page for people: a table of the locks, and the worst of each.
func RollupText(w io.Writer, r Rollup, o TextOptions) error {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	p := &page{width: min(max(o.Width, minWidth), maxWidth), paint: painter(o.Color)}
	p.residue(Report{Residue: r.residue()})
	p.box(r.Letter, []string{r.Name, r.Headline})
	widest := columns("lock")
	for _, l := range r.Locks {
		widest = max(widest, columns(oneLine(l.Name)))
	}
	for _, l := range r.Locks {
		p.rolled(l, min(widest, p.width/2))
	}
	p.line("")
	p.lines("", fmt.Sprintf("record %s, started %s, lockaudit %s; each lock has a report of its own in its folder there",
		r.ID, r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), r.Tool), p.paint.dim)
	if _, err := io.WriteString(w, p.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// rolled is one lock: letter, name and result in a line, who answers for it, and the
// worst findings.
func (p *page) rolled(l RolledLock, widest int) {
	name := oneLine(l.Name)
	if columns(name) > widest {
		p.line(p.paint.letter(l.letterOr()) + "  " + p.paint.bold(Wrap(name, p.width-3)[0]))
		name = ""
	}
	label := p.paint.letter(l.letterOr()) + "  " + p.paint.bold(name) + strings.Repeat(" ", max(0, widest-columns(name))) + "  "
	if name == "" {
		label = strings.Repeat(" ", widest+5)
	}
	p.lines(label, l.words(), nil)
	indent := strings.Repeat(" ", widest+5)
	var about []string
	if text := ownerWords(l.Owner); text != "" {
		about = append(about, "owner "+text)
	}
	if l.audited() {
		about = append(about, l.Report.Grade.Coverage())
		if text := l.Report.waivedWords(); text != "" {
			about = append(about, text)
		}
	}
	if len(about) > 0 {
		p.lines(indent, strings.Join(about, "; "), p.paint.dim)
	}
	for _, f := range l.worstOf() {
		p.lines(indent+p.paint.outcome(f.Outcome)+" ", findingWords(f), nil)
	}
	if n := l.more(); n > 0 {
		p.lines(indent, fmt.Sprintf("and %d more", n), p.paint.dim)
	}
	if l.Run != "" {
		p.lines(indent, "report: "+l.Run+"/report.txt", p.paint.dim)
	}
}

// findingWords is a finding in one line, with what its waiver comes to.
func findingWords(f checklist.Finding) string {
	text := f.Item + ": " + f.Summary
	if w := f.WaiverWords(); w != "" {
		text += " (" + w + ")"
	}
	return text
}
