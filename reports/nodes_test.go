package reports

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

// TestNodes: each node's clock against the auditor's is shown with what it may be off by,
// and a connection that was lost.
func TestNodes(t *testing.T) {
	run, r := doubleRun(t)
	r.Run.Nodes = []record.Node{
		{Name: "app-a", Hostname: "h1", AgentVersion: "v1.2", Protocol: 2, RoundTrip: 3 * time.Millisecond, ClockAhead: -1200 * time.Millisecond, ClockError: 1500 * time.Microsecond, Raw: 5, RawAt: 7, Times: 1},
		{Name: "app-b", Hostname: "h2", AgentVersion: "v1.1", Protocol: 1, Unread: "no such order", Times: 2},
	}
	var page, md, out bytes.Buffer
	if err := HTML(&page, r, run); err != nil {
		t.Fatal(err)
	}
	if err := Markdown(&md, r); err != nil {
		t.Fatal(err)
	}
	if err := JSON(&out, r); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"html": page.String(), "markdown": md.String()} {
		for _, want := range []string{"app-a", "agent v1.2, protocol 2", "−" + checklist.Duration(1200*time.Millisecond) + " ± " + checklist.Duration(1500*time.Microsecond), "reached 2 times: the connection was lost", "not read: no such order"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
	if err := validate(t, schema(t), out.String()); err != nil {
		t.Error(err)
	}
}
