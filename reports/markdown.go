package reports

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

// maxMarkdown is what fits into a comment on a pull request: GitHub takes 65 536
// characters, GitLab more.
const maxMarkdown = 65000

// Markdown writes the report for a comment on a pull request: the verdict and the
// table first, everything else folded, and never longer than such a comment can be.
func Markdown(w io.Writer, r Report) error {
	m := &markdown{}
	m.section(r.mdHead())
	m.section(mdTable(r.Findings))
	for _, f := range troubledFirst(r.Findings) {
		m.section(mdDetail(r, f))
	}
	m.section(mdList("Passed", r.Findings, func(f checklist.Finding) bool { return f.Outcome == checklist.Pass }))
	m.section(mdList("Tested, but not decided", r.Findings, func(f checklist.Finding) bool { return f.Outcome == checklist.Inconclusive && f.Tested }))
	m.section(mdList("Not tested", r.Findings, func(f checklist.Finding) bool { return f.Outcome == checklist.Inconclusive && !f.Tested }))
	m.section(r.mdRecord())
	if _, err := io.WriteString(w, m.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// markdown collects sections as long as they fit.
type markdown struct {
	strings.Builder
	used, left int
}

const mdCut = "\n_%d more sections did not fit; `lockaudit report RUN -f html` has everything._\n"

func (m *markdown) section(text string) {
	if text == "" {
		return
	}
	n := utf8.RuneCountInString(text) + 1
	if m.left > 0 || m.used+n+len(mdCut)+10 > maxMarkdown {
		m.left++
		return
	}
	m.used += n
	m.WriteString(text + "\n")
}

func (m *markdown) String() string {
	if m.left == 0 {
		return m.Builder.String()
	}
	return m.Builder.String() + fmt.Sprintf(mdCut, m.left)
}

func (r Report) mdHead() string {
	var b strings.Builder
	b.WriteString(mdResidue(r.Residue))
	s := r.Run.Subject
	fmt.Fprintf(&b, "## lockaudit: %s · %s\n\n**%s**\n\n", letterOrNone(r.Grade.Letter), mdText(s.Name), mdText(sentence(r.Headline)))
	fmt.Fprintf(&b, "- %s lock, lease %s, for %s\n", mdText(s.Backend), checklist.Duration(s.TTL), mdText(s.Purpose))
	fmt.Fprintf(&b, "- %s\n", mdText(r.Grade.Coverage()))
	if text := r.waivedWords(); text != "" {
		fmt.Fprintf(&b, "- %s\n", mdText(text))
	}
	if text := ownerWords(s.Owner); text != "" {
		fmt.Fprintf(&b, "- owner: %s\n", mdText(text))
	}
	if r.Grade.Letter == "" {
		fmt.Fprintf(&b, "- no letter: %s\n", why(r))
	}
	if text := believed(r.Belief); text != "" {
		fmt.Fprintf(&b, "- belief: %s\n", text)
	}
	if r.Run.Status != record.Complete {
		fmt.Fprintf(&b, "- **the run did not come to its end** (%s) %s\n", mdText(string(r.Run.Status)), mdText(r.Run.Err))
	}
	if n := len(r.Damage); n > 0 {
		fmt.Fprintf(&b, "- **the record is damaged** in %d place(s), listed at the end\n", n)
	}
	return b.String()
}

func mdResidue(residue []record.Residue) string {
	var b strings.Builder
	for _, left := range residue {
		fmt.Fprintf(&b, "> [!CAUTION]\n> **A fault may still be in effect** on node %s: %s. Remove it by hand now: %s\n\n",
			mdText(left.Node), mdText(left.What), mdCode(left.Remove))
	}
	return b.String()
}

func mdTable(findings []checklist.Finding) string {
	var b strings.Builder
	b.WriteString("| | question | severity | shown in |\n|---|---|---|---|\n")
	for _, f := range findings {
		sign, word := outcomeWord(f)
		if f.Outcome == checklist.Fail {
			word = "**" + strings.ToUpper(word) + "**"
		}
		if f.Waived() {
			word += ", waived"
		}
		fmt.Fprintf(&b, "| %s %s | %s | %s | %s |\n", sign, word, mdText(f.Question), f.Severity, trialsOf(f))
	}
	return b.String()
}

func mdDetail(r Report, f checklist.Finding) string {
	var b strings.Builder
	sign, word := outcomeWord(f)
	harm := ""
	if f.Harm {
		harm = ", harm seen"
	}
	if f.Waived() {
		harm += ", waived"
	}
	fmt.Fprintf(&b, "<details><summary>%s %s: <code>%s</code> (%s%s)</summary>\n\n", sign, word, mdHTML(f.Item), f.Severity, harm)
	if text := f.WaiverWords(); text != "" {
		fmt.Fprintf(&b, "**Waiver.** %s\n\n", mdText(sentence(text)))
	}
	fix := f.Fix
	if in := incident(r, f); in != nil {
		fmt.Fprintf(&b, "**Symptom.** %s\n\n**Root cause.** %s\n\n**Diagnosis.** %s\n\n**Resolution.** %s\n\n",
			mdText(in.Symptom), mdText(strings.Join(in.RootCause, " ")), mdText(in.Diagnosis), mdText(strings.Join(in.Resolution, " ")))
		fix = ""
	} else {
		fmt.Fprintf(&b, "**%s**%s\n\n", mdText(sentence(f.Summary)), trialWords(f))
	}
	b.WriteString(mdEvidence(f.Evidence))
	fmt.Fprintf(&b, "**Why it matters.** %s\n\n", mdText(f.Why))
	if fix != "" {
		fmt.Fprintf(&b, "**What to do.** %s\n\n", mdText(fix))
	}
	if f.Reproduce != "" {
		fmt.Fprintf(&b, "**Show it again.** %s\n\n", mdCode(f.Reproduce))
	}
	b.WriteString("</details>\n")
	return b.String()
}

// mdEvidence is the timeline as a block of code.
func mdEvidence(evidence []checklist.Evidence) string {
	if len(evidence) == 0 {
		return ""
	}
	var lines []string
	where := ""
	for _, e := range evidence {
		if e.Seq == 0 {
			lines = append(lines, oneLine(e.Text))
			continue
		}
		if source := fmt.Sprintf("%s, trial %d", e.Probe, e.Trial); source != where {
			lines, where = append(lines, source), source
		}
		lines = append(lines, fmt.Sprintf("%+10.3fs  %-8s  %s", e.At.Seconds(), oneLine(e.Actor), oneLine(e.Text)))
	}
	fence := mdFence(strings.Join(lines, "\n"))
	return fence + "text\n" + strings.Join(lines, "\n") + "\n" + fence + "\n\n"
}

func mdList(title string, findings []checklist.Finding, in func(checklist.Finding) bool) string {
	var b strings.Builder
	n := 0
	for _, f := range findings {
		if in(f) {
			n++
			fmt.Fprintf(&b, "- %s: %s%s\n", mdCode(f.Item), mdText(strings.TrimPrefix(f.Summary, "not tested: ")), trialWords(f))
			if text := f.WaiverWords(); text != "" {
				fmt.Fprintf(&b, "  - %s\n", mdText(text))
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("<details><summary>%s (%d)</summary>\n\n%s\n</details>\n", title, n, b.String())
}

func (r Report) mdRecord() string {
	var b strings.Builder
	for _, p := range r.Probes {
		if !asPlanned(p) {
			fmt.Fprintf(&b, "- probe %s: %s\n", mdCode(p.Name), mdText(probeWords(p)))
		}
	}
	for _, n := range r.Run.Nodes {
		fmt.Fprintf(&b, "- node %s: %s, round trip %s, clock %s\n", mdCode(n.Name), mdText(nodeWords(n)), checklist.Duration(n.RoundTrip), mdText(clockWords(n)))
	}
	for _, line := range r.Damage {
		fmt.Fprintf(&b, "- damage: %s\n", mdText(line))
	}
	fmt.Fprintf(&b, "\n<sub>run %s, started %s%s, lockaudit %s; times count from its start</sub>\n",
		mdText(r.Run.ID), r.Run.Started.UTC().Format("2006-01-02 15:04:05 UTC"), r.seedWords(), mdText(r.Run.Tool))
	return b.String()
}
