package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
)

// TextOptions say how the text is laid out.
type TextOptions struct {
	// Width in columns; it is kept within 60 and 140, and 0 means 80.
	Width int
	// Color: use terminal colours. Whether to is the caller's business.
	Color bool
}

const (
	minWidth     = 60
	defaultWidth = 80
	maxWidth     = 140
)

// page collects lines that are never wider than width.
type page struct {
	strings.Builder
	width int
	paint painter
}

// Text writes the report for people: what matters most comes first.
func Text(w io.Writer, r Report, o TextOptions) error {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	p := &page{width: min(max(o.Width, minWidth), maxWidth), paint: painter(o.Color)}
	p.residue(r)
	p.head(r)
	if err := p.table(r.Findings); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for _, f := range troubledFirst(r.Findings) {
		p.detail(f)
	}
	p.rest(r)
	p.probes(r)
	p.damage(r)
	p.foot(r)
	if _, err := io.WriteString(w, p.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// lines writes wrapped text after a label; the following lines are indented to
// where the first began. style may be nil.
func (p *page) lines(label, text string, style func(string) string) {
	p.indented(label, Wrap(text, p.width-columns(label)), style)
}

// command writes one that can be copied.
func (p *page) command(label, text string, style func(string) string) {
	p.indented(label, wrapCommand(text, p.width-columns(label)), style)
}

func (p *page) indented(label string, lines []string, style func(string) string) {
	indent := strings.Repeat(" ", columns(label))
	for i, line := range lines {
		if style != nil {
			line = style(line)
		}
		if i == 0 {
			p.line(label + line)
			continue
		}
		p.line(indent + line)
	}
}

func (p *page) line(s string) { p.WriteString(strings.TrimRight(s, " ") + "\n") }

// residue comes before everything else: a node may still be disturbed.
func (p *page) residue(r Report) {
	if len(r.Residue) == 0 {
		return
	}
	bar := p.paint.red(strings.Repeat("!", p.width))
	p.line(bar)
	p.lines("", "A FAULT MAY STILL BE IN EFFECT. Remove it by hand now:", p.paint.red)
	for _, left := range r.Residue {
		p.lines("  node ", fmt.Sprintf("%s: %s (fault %s)", left.Node, left.What, left.Fault), nil)
		p.command("    run ", left.Remove, p.paint.bold)
	}
	p.line(bar)
	p.line("")
}

// head: the letter in a box, the result, and what was audited.
func (p *page) head(r Report) {
	s := r.Run.Subject
	about := []string{fmt.Sprintf("%s (%s), lease %s, %s lock", s.Name, s.Backend, checklist.Duration(s.TTL), s.Purpose)}
	about = append(about, r.Headline, r.Grade.Coverage())
	if r.Grade.Letter == "" {
		about[2] = "no letter: " + why(r) + "; " + about[2]
	}
	if text := r.waivedWords(); text != "" {
		about = append(about, text)
	}
	if text := ownerWords(s.Owner); text != "" {
		about = append(about, "owner: "+text)
	}
	if text := believed(r.Belief); text != "" {
		about = append(about, text)
	}
	if r.Run.Status != "complete" {
		text := "the run did not come to its end (" + string(r.Run.Status) + ")"
		if r.Run.Err != "" {
			text += ": " + r.Run.Err
		}
		about = append(about, text)
	}
	if n := len(r.Damage); n > 0 {
		about = append(about, fmt.Sprintf("the record is damaged in %d place(s), listed at the end", n))
	}
	p.box(r.Grade.Letter, about)
}

// box draws the letter beside what it is about, whose first two lines stand out.
func (p *page) box(letter string, about []string) {
	if letter == "" {
		letter = "-"
	}
	box := []string{"┌───┐ ", "│ " + p.paint.letter(letter) + " │ ", "└───┘ "}
	n := 0
	for i, text := range about {
		for _, line := range Wrap(text, p.width-6) {
			left := strings.Repeat(" ", 6)
			if n < len(box) {
				left = box[n]
			}
			if i <= 1 {
				line = p.paint.bold(line)
			}
			p.line(left + line)
			n++
		}
	}
	p.line("")
}

func why(r Report) string {
	switch {
	case r.Grade.Passive:
		return "a passive inspection shows what is set up, not how it behaves"
	case r.Grade.Tested == 0:
		return "nothing was tested"
	}
	return "no probe acted"
}
