package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
)

// troubledFirst returns the failed and warned findings, worst first.
func troubledFirst(findings []checklist.Finding) []checklist.Finding {
	var out []checklist.Finding
	for _, f := range findings {
		if troubled(f) {
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(x, y checklist.Finding) int { return rank(y) - rank(x) })
	return out
}

// detail tells one finding: what was seen, the events, why it matters, what to do.
func (p *page) detail(f checklist.Finding) {
	p.line("")
	harm := ""
	if f.Harm {
		harm = ", harm seen"
	}
	if f.Waived() {
		harm += ", waived"
	}
	p.line(p.paint.outcome(f.Outcome) + "  " + p.paint.bold(f.Item) + "  (" + string(f.Severity) + harm + ")")
	if text := f.WaiverWords(); text != "" {
		p.lines("  waiver ", text, p.paint.bold)
	}
	seen := f.Summary
	if f.Trials.Of > 0 {
		seen += fmt.Sprintf(" (in %d of %d trials)", f.Trials.Shown, f.Trials.Of)
	}
	p.lines("  seen   ", seen, nil)
	p.timeline(f.Evidence)
	p.lines("  why    ", f.Why, nil)
	p.lines("  fix    ", f.Fix, nil)
	p.command("  again  ", f.Reproduce, nil)
}

// timeline prints the cited events. Times count from the start of the run, so
// that they can be looked up in its histories.
func (p *page) timeline(evidence []checklist.Evidence) {
	actor := 0
	for _, e := range evidence {
		actor = max(actor, columns(oneLine(e.Actor)))
	}
	where := ""
	for _, e := range evidence {
		if e.Seq == 0 {
			p.lines("         ", e.Text, nil)
			continue
		}
		if source := fmt.Sprintf("%s, trial %d:", e.Probe, e.Trial); source != where {
			p.lines("         ", source, p.paint.dim)
			where = source
		}
		name := oneLine(e.Actor)
		label := fmt.Sprintf("  %+10.3fs  %s%s  ", e.At.Seconds(), name, strings.Repeat(" ", actor-columns(name)))
		var style func(string) string
		if strings.Contains(e.Text, staleWord) {
			style = p.paint.bold
		}
		p.lines(label, e.Text, style)
	}
}

// rest lists what is left: what passed, what was looked at and not decided, and
// what was not tested.
func (p *page) rest(r Report) {
	p.passed(r.Findings)
	p.list("tested, but not decided", r.Findings, true)
	p.list(untested(r), r.Findings, false)
}

// untested is the title of what no probe of the run was about.
func untested(r Report) string {
	if r.Grade.Passive {
		return "not tested: only an audit can tell, which acts (lockaudit audit, with these probes in the plan)"
	}
	return "not tested"
}

// passed says for each pass what was seen and where the record shows it.
func (p *page) passed(findings []checklist.Finding) {
	first := true
	for _, f := range findings {
		if f.Outcome != checklist.Pass {
			continue
		}
		if first {
			p.line("")
			p.line(p.paint.bold("passed"))
			first = false
		}
		text := f.Item + ": " + f.Summary
		if f.Trials.Of > 0 {
			text += fmt.Sprintf(" (in %d of %d trials)", f.Trials.Shown, f.Trials.Of)
		}
		p.entry(text + cited(f.Evidence))
		p.needless(f)
	}
}

// needless says of a waiver that it covers nothing.
func (p *page) needless(f checklist.Finding) {
	if text := f.WaiverWords(); text != "" {
		p.lines("      ", text, nil)
	}
}

// cited names the events of the first trial behind a pass.
func cited(evidence []checklist.Evidence) string {
	var numbers []string
	for _, e := range evidence {
		if e.Seq > 0 && e.Probe == evidence[0].Probe && e.Trial == evidence[0].Trial {
			numbers = append(numbers, fmt.Sprint(e.Seq))
		}
	}
	if len(numbers) == 0 {
		return ""
	}
	return fmt.Sprintf(" [%s, events %s]", evidence[0].Probe, strings.Join(numbers, " "))
}

func (p *page) list(title string, findings []checklist.Finding, tested bool) {
	first := true
	for _, f := range findings {
		if f.Outcome != checklist.Inconclusive || f.Tested != tested {
			continue
		}
		if first {
			p.line("")
			p.line(p.paint.bold(title))
			first = false
		}
		p.entry(f.Item + ": " + strings.TrimPrefix(f.Summary, "not tested: "))
		p.needless(f)
	}
}

// probes lists those that did not run as planned.
func (p *page) probes(r Report) {
	first := true
	for _, probe := range r.Probes {
		if asPlanned(probe) {
			continue
		}
		if first {
			p.line("")
			p.line(p.paint.bold("probes that did not run as planned"))
			first = false
		}
		p.entry(probe.Name + ": " + probeWords(probe))
	}
}

// entry writes one entry of a list, its following lines indented further.
func (p *page) entry(text string) {
	for i, line := range Wrap(text, p.width-6) {
		if i == 0 {
			p.line("  " + line)
			continue
		}
		p.line("      " + line)
	}
}

// damage lists what is wrong with the record, which the verdicts rest on.
func (p *page) damage(r Report) {
	if len(r.Damage) == 0 {
		return
	}
	p.line("")
	p.line(p.paint.bold("the record is damaged"))
	for _, line := range r.Damage {
		p.entry(line)
	}
}

// foot says where the report comes from.
func (p *page) foot(r Report) {
	p.line("")
	p.lines("", fmt.Sprintf("run %s, started %s%s, lockaudit %s; times count from its start",
		r.Run.ID, r.Run.Started.UTC().Format("2006-01-02 15:04:05 UTC"), r.seedWords(), r.Run.Tool), p.paint.dim)
}
