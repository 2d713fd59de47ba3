package trail

import (
	"fmt"
	"strings"
	"time"
)

// String is one line for people.
func (r Record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-7s %-7s", r.Time.Format("2006-01-02T15:04:05.000Z"), r.Event, r.Result)
	for _, s := range []string{r.Fault, r.Kind} {
		if s != "" {
			b.WriteString("  " + s)
		}
	}
	if r.For > 0 && (r.Event == Inject) {
		fmt.Fprintf(&b, " for %s", r.For.Round(time.Millisecond))
	}
	if r.Why != "" {
		b.WriteString("  " + r.Why)
	}
	between := "  "
	for _, s := range append([]string{r.Detail}, r.Objects...) {
		if s != "" {
			b.WriteString(between + s)
			between = "; "
		}
	}
	fmt.Fprintf(&b, "  [%s]", r.Who)
	return b.String()
}

// String says whether the chain holds.
func (c Chain) String() string {
	if c.Records == 0 && c.Broken == nil {
		return "no orders were logged in " + c.Dir
	}
	s := fmt.Sprintf("records %d to %d in %s", c.First, c.Last, c.Dir)
	if c.Broken == nil {
		s += " are as they were written; the newest sum is " + c.Head
	}
	if c.First > 1 {
		s += fmt.Sprintf("\nrecords before %d are gone: the log keeps %d files", c.First, maxFiles)
	}
	for _, t := range c.Torn {
		s += "\n" + t.String()
	}
	if c.Broken != nil {
		s += "\nbroken: " + c.Broken.String()
	}
	return s
}
