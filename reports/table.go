package reports

import (
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// Fixed columns of the table with their padding; the question has the rest.
const besidesQuestion = len(" ✗ FAIL ") - 2 + len(" severity ") + len(" trials ") + len("  ") + 3

// table lists every item, one verdict a row.
func (p *page) table(findings []checklist.Finding) error {
	t := tablewriter.NewTable(&p.Builder,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Symbols: tw.NewSymbols(tw.StyleLight),
			Settings: tw.Settings{
				Separators: tw.Separators{BetweenRows: tw.Off, BetweenColumns: tw.On},
				Lines:      tw.Lines{ShowHeaderLine: tw.On},
			},
		})),
		// Cells are wrapped before they get here.
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAlignment(tw.AlignLeft),
		tablewriter.WithRowAlignment(tw.AlignLeft),
		tablewriter.WithEastAsian(tw.Off),
	)
	t.Header("result", "question", "severity", "trials")
	for _, f := range findings {
		question := f.Question
		if f.Waived() {
			question += " (waived)"
		}
		question = strings.Join(Wrap(question, p.width-besidesQuestion), "\n")
		if err := t.Append(p.paint.outcome(f.Outcome), question, string(f.Severity), trialsOf(f)); err != nil {
			return err
		}
	}
	var err error
	p.tidy(func() { err = t.Render() })
	return err
}

// tidy removes the blanks that a renderer leaves at the ends of lines.
func (p *page) tidy(render func()) {
	before := p.String()
	p.Reset()
	render()
	drawn := strings.Split(strings.TrimRight(p.String(), "\n"), "\n")
	p.Reset()
	p.WriteString(before)
	for _, line := range drawn {
		p.line(line)
	}
}

func trialsOf(f checklist.Finding) string {
	if f.Trials.Of == 0 || f.Outcome == checklist.Inconclusive {
		return ""
	}
	return fmt.Sprintf("%d/%d", f.Trials.Shown, f.Trials.Of)
}
