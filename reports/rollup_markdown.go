package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
)

// RollupMarkdown writes the page for a comment on a pull request: the table first, the
// worst findings of each lock folded, never longer than such a comment can be.
func RollupMarkdown(w io.Writer, r Rollup) error {
	m := &markdown{}
	m.section(r.mdHead())
	for _, l := range r.Locks {
		m.section(l.markdown())
	}
	m.section(fmt.Sprintf("<sub>record %s, started %s, lockaudit %s</sub>\n",
		mdText(r.ID), r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), mdText(r.Tool)))
	if _, err := io.WriteString(w, m.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (r Rollup) mdHead() string {
	var b strings.Builder
	b.WriteString(mdResidue(r.residue()))
	fmt.Fprintf(&b, "## lockaudit: %s · %s\n\n**%s**\n\n", letterOrNone(r.Letter), mdText(r.Name), mdText(sentence(r.Headline)))
	b.WriteString("| | lock | owner | tested | result |\n|---|---|---|---|---|\n")
	for _, l := range r.Locks {
		tested := ""
		if l.Report != nil {
			tested = fmt.Sprintf("%d of %d", l.Report.Grade.Tested, l.Report.Grade.Items)
		}
		result := l.words()
		if l.Report != nil && len(l.Report.Grade.Waived) > 0 {
			result += "; waived: " + strings.Join(l.Report.Grade.Waived, ", ")
		}
		fmt.Fprintf(&b, "| **%s** | %s | %s | %s | %s |\n", l.letterOr(), mdText(l.Name), mdText(ownerWords(l.Owner)), tested, mdText(result))
	}
	return b.String()
}

func letterOrNone(letter string) string {
	if letter == "" {
		return "no letter"
	}
	return letter
}

// markdown lists the worst of one lock; "" if nothing is wrong with it.
func (l RolledLock) markdown() string {
	worst := l.worstOf()
	if len(worst) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<details><summary>%s %s: what to look at (%d)</summary>\n\n", l.letterOr(), mdText(l.Name), len(worst)+l.more())
	for _, f := range worst {
		_, word := outcomeWord(f)
		if f.Outcome == checklist.Fail {
			word = "**" + strings.ToUpper(word) + "**"
		}
		fmt.Fprintf(&b, "- %s %s: %s", word, mdCode(f.Item), mdText(sentence(f.Summary)))
		if text := f.WaiverWords(); text != "" {
			fmt.Fprintf(&b, " *%s*", mdText(sentence(text)))
		}
		fmt.Fprintf(&b, "\n  - %s\n", mdText(f.Fix))
	}
	if n := l.more(); n > 0 {
		fmt.Fprintf(&b, "- and %d more\n", n)
	}
	b.WriteString("\n</details>\n")
	return b.String()
}
