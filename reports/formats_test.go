package reports

import (
	"bytes"
	"encoding/xml"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

func render(t *testing.T, print func(io.Writer) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	for _, j := range everyRun(t) {
		golden(t, j.name+".html", []byte(render(t, func(w io.Writer) error { return HTML(w, j.report, j.run) })))
		golden(t, j.name+".md", []byte(render(t, func(w io.Writer) error { return Markdown(w, j.report) })))
		golden(t, j.name+".xml", []byte(render(t, func(w io.Writer) error { return JUnit(w, j.report) })))
	}
}

// hostile is text that tries to break out of every format.
const hostile = "</title></svg><script>alert(1)</script>\"'><img src=//x.example/y> ]]> `` ``` | \\| @everyone #1 \x1b[2J \x00 \ufffe {{.}} [a](javascript:x) ://x"

// hostileRun has it wherever other programs have a say.
func hostileRun(t *testing.T) (record.Run, Report) {
	run, r := doubleRun(t)
	r.Run.Subject.Name, r.Run.Err, r.Run.ID, r.Run.Tool = hostile, hostile, hostile, hostile
	r.Run.Status = record.Interrupted
	r.Damage = []string{hostile}
	r.Residue = []record.Residue{{Node: hostile, What: hostile, Fault: hostile, Remove: hostile}}
	r.Run.Nodes = []record.Node{{Name: hostile, Hostname: hostile, AgentVersion: hostile, Unread: hostile, Times: 2}}
	r.Probes[0].Err, r.Probes[0].Status = hostile, record.Failed
	for i := range r.Findings {
		r.Findings[i].Summary, r.Findings[i].Reproduce = hostile, hostile
		r.Findings[i].Evidence = append([]checklist.Evidence{{Text: hostile}}, r.Findings[i].Evidence...)
		for k := range r.Findings[i].Evidence {
			r.Findings[i].Evidence[k].Actor, r.Findings[i].Evidence[k].Text = hostile, hostile
		}
	}
	for name, events := range run.Histories {
		for i := range events {
			events[i].Node = hostile
			if events[i].Step != "" {
				events[i].Step = hostile
			}
			if f := events[i].Fault; f != nil {
				f.Kind, f.Seen = hostile, hostile
			}
			if s := events[i].Sample; s != nil {
				s.Peer, s.Notes = hostile, []string{hostile}
			}
		}
		run.Histories[name] = events
	}
	run.Facts.Members[0].Err, run.Facts.Members[0].Name = hostile, hostile
	return run, r
}

func TestForeignTextStaysText(t *testing.T) {
	run, r := hostileRun(t)
	page := render(t, func(w io.Writer) error { return HTML(w, r, run) })
	for _, bad := range []string{"<script", "<img", "javascript:x\"", "\x1b", "\x00", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	md := render(t, func(w io.Writer) error { return Markdown(w, r) })
	outside := withoutCode(md)
	for _, bad := range []string{"<script", "<img", "@everyone", "#1 ", "[a](", "\x1b", "\x00"} {
		if strings.Contains(outside, bad) {
			t.Errorf("the comment has %q outside code:\n%s", bad, outside)
		}
	}
	out := render(t, func(w io.Writer) error { return JUnit(w, r) })
	var back junitSuites
	if err := xml.Unmarshal([]byte(out), &back); err != nil {
		t.Errorf("not XML: %v", err)
	}
}

// withoutCode removes fenced blocks and spans of code.
func withoutCode(md string) string {
	var kept []string
	fence := ""
	for _, line := range strings.Split(md, "\n") {
		run := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case fence == "" && len(run) >= 3:
			fence = run
		case fence != "" && line == fence:
			fence = ""
		case fence == "":
			kept = append(kept, spans(line))
		}
	}
	return strings.Join(kept, "\n")
}

func spans(line string) string {
	var out strings.Builder
	for {
		at := strings.Index(line, "`")
		if at < 0 || at > 0 && line[at-1] == '\\' {
			if at < 0 {
				return out.String() + line
			}
			out.WriteString(line[:at+1])
			line = line[at+1:]
			continue
		}
		rest := strings.TrimLeft(line[at:], "`")
		fence := line[at : len(line)-len(rest)]
		end := strings.Index(rest, " "+fence)
		if len(fence) == 1 {
			end = strings.Index(rest, fence) - 1
		}
		if end < -1 || end+1+len(fence) > len(rest) {
			return out.String() + line
		}
		out.WriteString(line[:at])
		line = rest[end+1+len(fence):]
	}
}

// TestMarkdownFits into a comment whatever the run holds, and says what it left out.
func TestMarkdownFits(t *testing.T) {
	_, r := doubleRun(t)
	for i := range r.Findings {
		r.Findings[i].Outcome = checklist.Fail
		for range 400 {
			r.Findings[i].Evidence = append(r.Findings[i].Evidence, checklist.Evidence{Probe: "p", Trial: 1, Seq: 1, Actor: "a", Text: "日本語 " + strings.Repeat("x", 40)})
		}
	}
	md := render(t, func(w io.Writer) error { return Markdown(w, r) })
	if n := utf8.RuneCountInString(md); n > maxMarkdown {
		t.Errorf("%d characters", n)
	}
	if !strings.Contains(md, "more sections did not fit") || !strings.Contains(md, "| question |") {
		t.Error("the comment does not say that it was cut, or has lost its table")
	}
}

// TestJUnitMeansTheExitStatus: failures are what makes the exit status 1, and what
// was not shown is never a pass.
func TestJUnitMeansTheExitStatus(t *testing.T) {
	for _, j := range everyRun(t) {
		var s junitSuites
		if err := xml.Unmarshal([]byte(render(t, func(w io.Writer) error { return JUnit(w, j.report) })), &s); err != nil {
			t.Fatal(err)
		}
		failing := checklist.ExitStatus(j.run, j.report.Findings, j.report.Grade, checklist.Want{}) == checklist.ExitFail
		if len(j.report.Residue) == 0 && (s.Failures > 0) != failing {
			t.Errorf("%s: %d failures, exit status says %v", j.name, s.Failures, failing)
		}
		if (s.Errors > 0) != (len(j.report.Residue) > 0 || j.report.Run.Status != record.Complete) {
			t.Errorf("%s: %d errors", j.name, s.Errors)
		}
		cases := map[string]junitCase{}
		for _, c := range s.Suites[0].Cases {
			cases[c.Name] = c
		}
		for _, f := range j.report.Findings {
			c := cases[f.Item]
			passed := c.Failure == nil && c.Error == nil && c.Skipped == nil
			if passed != (f.Outcome == checklist.Pass || f.Outcome == checklist.Warn) && f.Severity != checklist.Advice {
				t.Errorf("%s: %s is %s, in JUnit passed: %v", j.name, f.Item, f.Outcome, passed)
			}
		}
	}
}

// TestIncident: a double execution is told as an incident, in both formats for
// people, and nothing else is.
func TestIncident(t *testing.T) {
	for _, j := range everyRun(t) {
		page := render(t, func(w io.Writer) error { return HTML(w, j.report, j.run) })
		md := render(t, func(w io.Writer) error { return Markdown(w, j.report) })
		for _, part := range []string{"Symptom", "Root cause", "Diagnosis", "Resolution"} {
			want := j.name == "double-run"
			if strings.Contains(page, ">"+part+"<") != want || strings.Contains(md, "**"+part+".**") != want {
				t.Errorf("%s: %q is there or missing, want %v", j.name, part, want)
			}
		}
	}
	_, r := doubleRun(t)
	in := incident(r, *find(r.Findings, effectsItem))
	if !strings.Contains(in.Symptom, "ran twice") || !strings.Contains(strings.Join(in.RootCause, " "), "(fencing_enforced)") || len(in.Resolution) < 2 {
		t.Errorf("incident: %+v", in)
	}
}

// TestSeedIsPrinted: whoever reads any of the reports can draw the same shapes again.
func TestSeedIsPrinted(t *testing.T) {
	run, err := record.Load(filepath.Join("..", "checklist", "testdata", "partitions_tested", "random-fail"))
	if err != nil {
		t.Fatal(err)
	}
	findings := checklist.Judge(run)
	r := New(run, findings, checklist.GradeOf(findings, run))
	for name, out := range map[string]string{
		", seed 2,":                       render(t, func(w io.Writer) error { return Text(w, r, TextOptions{Width: 140}) }),
		", seed 2, ":                      render(t, func(w io.Writer) error { return HTML(w, r, run) }),
		", seed 2, lockaudit":             render(t, func(w io.Writer) error { return Markdown(w, r) }),
		`"seed": 2`:                       render(t, func(w io.Writer) error { return JSON(w, r) }),
		`<property name="seed" value="2"`: render(t, func(w io.Writer) error { return JUnit(w, r) }),
	} {
		if !strings.Contains(out, name) || !strings.Contains(out, "--seed") && !strings.HasPrefix(name, "<property") {
			t.Errorf("no %q, or no command with it, in\n%.300s", name, out)
		}
	}
	if err := validate(t, schema(t), encode(t, r)); err != nil {
		t.Error(err)
	}
}
