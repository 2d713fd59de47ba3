package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

// The part of the JUnit format that CI systems agree on.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string          `xml:"name,attr"`
		Tests     int             `xml:"tests,attr"`
		Failures  int             `xml:"failures,attr"`
		Errors    int             `xml:"errors,attr"`
		Skipped   int             `xml:"skipped,attr"`
		Time      string          `xml:"time,attr,omitempty"` // seconds
		Timestamp string          `xml:"timestamp,attr"`
		Property  []junitProperty `xml:"properties>property"`
		Cases     []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Failure *junitResult `xml:"failure"`
		Error   *junitResult `xml:"error"`
		Skipped *junitResult `xml:"skipped"`
		Out     *junitText   `xml:"system-out"`
	}
	junitText struct {
		Text string `xml:",cdata"`
	}
	junitResult struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",cdata"`
	}
)

// JUnit writes one test case per item. What makes the exit status 1 is a failure,
// an item whose probe broke down is an error, and what was not shown is skipped,
// never passed; so is a failure that is waived. A warning passes, with its words as output, as it does for the exit
// status. A fault that may remain and a run that was cut off are errors of their own.
func JUnit(w io.Writer, r Report) error { return writeJUnit(w, []junitSuite{junitOf(r)}) }

// junitTime is ISO 8601 without a zone, as the format wants it.
const junitTime = "2006-01-02T15:04:05"

func junitOf(r Report) junitSuite {
	s := junitSuite{
		Name: oneLine(r.Run.Subject.Name), Timestamp: r.Run.Started.UTC().Format(junitTime),
		Property: []junitProperty{
			{"grade", r.Grade.Letter}, {"coverage", r.Grade.Coverage()}, {"headline", oneLine(r.Headline)},
			{"run", oneLine(r.Run.ID)}, {"lockaudit", oneLine(r.Run.Tool)},
		},
	}
	if text := ownerWords(r.Run.Subject.Owner); text != "" {
		s.Property = append(s.Property, junitProperty{"owner", oneLine(text)})
	}
	if r.Run.Seed != 0 {
		s.Property = append(s.Property, junitProperty{"seed", fmt.Sprint(r.Run.Seed)})
	}
	if r.Run.Finished != nil {
		s.Time = fmt.Sprintf("%.3f", r.Run.Finished.Sub(r.Run.Started).Seconds())
	}
	for _, left := range r.Residue {
		s.Cases = append(s.Cases, junitCase{Class: "lockaudit.run", Name: "no fault remains", Error: &junitResult{
			Message: oneLine(left.Node + ": " + left.What), Type: "residue", Text: "remove it by hand: " + oneLine(left.Remove),
		}})
	}
	if r.Run.Status != record.Complete {
		s.Cases = append(s.Cases, junitCase{Class: "lockaudit.run", Name: "the run came to its end", Error: &junitResult{
			Message: oneLine(string(r.Run.Status) + " " + r.Run.Err), Type: "run",
		}})
	}
	for _, f := range r.Findings {
		s.Cases = append(s.Cases, junitItem(r, f))
	}
	return s
}

func writeJUnit(w io.Writer, suites []junitSuite) error {
	all := junitSuites{Name: "lockaudit"}
	for _, s := range suites {
		s.Tests = len(s.Cases)
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil:
				s.Failures++
			case c.Error != nil:
				s.Errors++
			case c.Skipped != nil:
				s.Skipped++
			}
		}
		all.Tests, all.Failures = all.Tests+s.Tests, all.Failures+s.Failures
		all.Errors, all.Skipped = all.Errors+s.Errors, all.Skipped+s.Skipped
		all.Suites = append(all.Suites, s)
	}
	data, err := xml.MarshalIndent(all, "", "  ")
	if err == nil {
		_, err = io.WriteString(w, xml.Header+string(data)+"\n")
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func junitItem(r Report, f checklist.Finding) junitCase {
	c := junitCase{Class: "lockaudit." + string(f.Severity), Name: f.Item}
	result := &junitResult{Message: oneLine(f.Summary) + trialWords(f)}
	waiver := oneLine(f.WaiverWords())
	switch {
	case f.Outcome == checklist.Fail && f.Waived():
		result.Type, result.Message = "waived", waiver+"; it fails: "+result.Message
		c.Skipped = result
	case f.Outcome == checklist.Fail && f.Severity != checklist.Advice:
		result.Type, result.Text = string(f.Severity), junitDetail(f)
		c.Failure = result
	case f.Outcome == checklist.Inconclusive && brokenProbe(r, f):
		result.Type = "probe"
		c.Error = result
	case f.Outcome == checklist.Inconclusive, f.Outcome == checklist.NotApplicable:
		c.Skipped = result
	default:
		_, word := outcomeWord(f)
		c.Out = &junitText{word + ": " + result.Message}
		if f.Outcome != checklist.Pass {
			c.Out.Text += "\n" + junitDetail(f)
		}
	}
	return c
}

// brokenProbe: a probe that the item needs could not be carried out.
func brokenProbe(r Report, f checklist.Finding) bool {
	item, _ := checklist.ByID(f.Item)
	return slices.ContainsFunc(r.Probes, func(p record.Probe) bool {
		return p.Status == record.Failed && slices.Contains(item.Probes, p.Name)
	})
}

func junitDetail(f checklist.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", f.Question)
	if text := f.WaiverWords(); text != "" {
		fmt.Fprintf(&b, "%s\n", oneLine(text))
	}
	for _, e := range f.Evidence {
		if e.Seq == 0 {
			fmt.Fprintf(&b, "%s\n", oneLine(e.Text))
			continue
		}
		fmt.Fprintf(&b, "%s, trial %d: %+.3fs %s %s\n", e.Probe, e.Trial, e.At.Seconds(), oneLine(e.Actor), oneLine(e.Text))
	}
	fmt.Fprintf(&b, "why: %s\nfix: %s\nagain: %s\n", f.Why, f.Fix, oneLine(f.Reproduce))
	return b.String()
}
