package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

func draft(locksFound ...survey.Group) Draft {
	return Draft{
		Backend: "redis", Source: "redis://10.0.0.1:6379", When: time.Unix(0, 0),
		Found: survey.Survey{
			Topology: "a primary with 2 asynchronous replicas", Endpoints: []string{"10.0.0.1:6379"}, Locks: locksFound,
			Service: facts.Deployment{Backend: "redis"}, Clients: []survey.Client{{Address: "10.0.0.31", Connections: 4, Names: []string{"billing"}}},
		},
	}
}

// TestDraftIsAPlan: whatever was found, Parse accepts what is written, and reads back
// what was seen.
func TestDraftIsAPlan(t *testing.T) {
	t.Setenv("SERVICE_PASSWORD", "geheim")
	secured := draft(survey.Group{Pattern: "lock:order:*", Keys: 12, Key: "lock:order:7", Kind: "string", Lease: 30 * time.Second, Exact: true, Why: []string{"it expires"}})
	secured.Username, secured.PasswordFrom = `au"dit`, "SERVICE_PASSWORD"
	secured.TLS = &locks.TLS{CAFile: "/etc/lock/ca.pem", ServerName: "lock"}
	hostile := survey.Group{Pattern: "a\nprobes: all\n#", Keys: 1, Key: "a\nprobes: all\n\"'{}: \u2028é \x1b[31m", Kind: "string", Lease: time.Second, Why: []string{"x\ny"}}
	noted := draft(hostile, hostile)
	noted.Found.Notes = []string{"line\nprobes: all"}
	noted.Found.Clients[0].Names = []string{"x\nprobes: all"}
	named := draft()
	named.Key = "/locks/billing"
	for name, tt := range map[string]struct {
		draft Draft
		key   string
		ttl   time.Duration
		says  string
	}{
		"all known":         {secured, "lock:order:7", 30 * time.Second, "(12 keys)"[1:8]},
		"hostile names":     {noted, hostile.Key, time.Second, "TODO at least this was seen"},
		"nothing seen":      {draft(), NoKey, guessedTTL, "TODO no lock was seen"},
		"named, not held":   {named, "/locks/billing", guessedTTL, "nobody held it"},
		"no lease":          {draft(survey.Group{Pattern: "mutex", Key: "mutex", Kind: "string", Keys: 1}), "mutex", guessedTTL, "a dead holder keeps it for ever"},
		"not a yaml string": {draft(survey.Group{Pattern: "\xff", Key: "\xff", Keys: 1}), NoKey, guessedTTL, "TODO no lock"},
	} {
		text := tt.draft.Text()
		p, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		if p.Lock.Key != tt.key || p.Lock.TTL != tt.ttl || !p.Probes.Passive || !strings.Contains(text, tt.says) {
			t.Errorf("%s: key %q, ttl %s, probes %+v\n%s", name, p.Lock.Key, p.Lock.TTL, p.Probes, text)
		}
		if strings.Contains(text, "geheim") {
			t.Errorf("%s: the plan has the password:\n%s", name, text)
		}
		if tt.draft.PasswordFrom != "" && (p.Lock.Password != "geheim" || p.Lock.Username != `au"dit` || p.Lock.TLS.CAFile != "/etc/lock/ca.pem") {
			t.Errorf("%s: %+v", name, p.Lock)
		}
	}
}

// TestDraftCommentsAreExamples: what is commented out is right when it is let in.
func TestDraftCommentsAreExamples(t *testing.T) {
	var b strings.Builder
	for line := range strings.Lines(draft().Text()) {
		for _, begin := range []string{"# resource:", "#   kind:", "#   url:", "#   token_header:", "# nodes:", "#   - {name:", "  # takeover:"} {
			if strings.HasPrefix(line, begin) {
				line = strings.Replace(line, "# ", "", 1)
			}
		}
		b.WriteString(line)
	}
	p, err := Parse([]byte(b.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if p.Resource == nil || p.Lock.Takeover == 0 || len(p.Nodes) != 2 || p.Nodes[0].Via[1] != "10.0.0.31" {
		t.Errorf("%+v\n%s", p, b.String())
	}
}

// FuzzDraft: no name that a server may have breaks the plan.
func FuzzDraft(f *testing.F) {
	f.Add("a: b", "#", "10.0.0.1")
	f.Fuzz(func(t *testing.T, key, note, client string) {
		d := draft(survey.Group{Pattern: key, Key: key, Keys: 1, Kind: "string", Why: []string{note}})
		d.Found.Notes, d.Found.Clients = []string{note}, []survey.Client{{Address: client}}
		p, err := Parse([]byte(d.Text()))
		if err != nil {
			t.Fatalf("%v\n%s", err, d.Text())
		}
		if writable(key) && key != "" && p.Lock.Key != key {
			t.Fatalf("key %q is read back as %q", key, p.Lock.Key)
		}
	})
}
