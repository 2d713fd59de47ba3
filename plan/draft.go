package plan

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

// Draft is what a plan is written from when there is none yet.
type Draft struct {
	Backend string
	// Source is where was looked, without a password.
	Source   string
	When     time.Time
	Username string
	// PasswordFrom names the environment variable that holds the password; empty: none.
	PasswordFrom string
	TLS          *locks.TLS
	// Key is the lock's, if somebody named it.
	Key   string
	Found survey.Survey
}

// NoKey is the key of a plan when no lock was seen: no application uses it.
const NoKey = "lockaudit/no-lock-seen"

// guessedTTL is the lease of a plan when none was seen.
const guessedTTL = 10 * time.Second

// Text is the plan, with comments that tell what was seen from what was guessed. It is
// a whole plan, which Parse accepts.
func (d Draft) Text() string {
	var b draftText
	best := d.best()
	b.line("# Written by lockaudit init from %s on %s, by looking only.", d.Source, d.When.Format(time.DateOnly))
	b.line("# Lines with TODO are for you: nobody can see them from outside.")
	b.line("name: %s", draftName(best.Pattern, d.Backend))
	b.line("")
	b.line("lock:")
	b.line("  backend: %s", d.Backend)
	b.line("  endpoints: [%s]   # %s", quoteAll(d.Found.Endpoints), d.Found.Topology)
	d.lock(&b, best)
	if options := cmp.Or(best.Options, d.Found.Options); options != "" {
		b.line("  options: %s", options)
	}
	if d.TLS != nil {
		b.line("  tls: {%s}   # files on the nodes where lock clients run", tlsWords(d.TLS))
	}
	if d.Username != "" {
		b.line("  username: %s", quote(d.Username))
	}
	if d.PasswordFrom != "" {
		b.line("  password: ${%s}   # from the environment; never written to a record", d.PasswordFrom)
	}
	d.notes(&b)
	d.rest(&b, best)
	return b.String()
}

// best is the likeliest lock, or what stands for one that was not seen.
func (d Draft) best() survey.Group {
	for _, g := range d.Found.Locks {
		if writable(g.Key) {
			return g
		}
	}
	if d.Key != "" {
		return survey.Group{Pattern: d.Key, Key: d.Key}
	}
	return survey.Group{Pattern: d.Backend, Key: NoKey}
}

// writable: a plan can hold the key as it is.
func writable(key string) bool { return key != "" && utf8.ValidString(key) }

func (d Draft) lock(b *draftText, best survey.Group) {
	switch {
	case best.Key == NoKey:
		b.line("  key: %s   # TODO no lock was seen while looking; name your application's", quote(NoKey))
		b.line("  ttl: %s   # TODO guessed; the lease that it asks for", guessedTTL)
	case best.Kind == "":
		b.line("  key: %s   # nobody held it while looking", quote(best.Key))
		b.line("  ttl: %s   # TODO guessed; the lease that the application asks for", guessedTTL)
	default:
		b.comment("  ", fmt.Sprintf("seen: %s, %s", best.Pattern, strings.Join(Describe(best), "; ")))
		b.line("  key: %s   # looked at, never touched: the audit has canary keys of its own", quote(best.Key))
		ttl, how := best.Lease, "seen"
		switch {
		case ttl <= 0:
			ttl, how = guessedTTL, "TODO guessed: the key has no lease, so that a dead holder keeps it for ever"
		case !best.Exact:
			how = "TODO at least this was seen; the lease that the application asks for"
		}
		b.line("  ttl: %s   # %s", ttl, how)
	}
	b.line("  purpose: correctness   # TODO or efficiency, if a double grant costs work and no data")
	b.line("  # takeover: 30s        # TODO the longest time without a holder that is accepted after a crash")
}

func (d Draft) notes(b *draftText) {
	if len(d.Found.Notes) > 0 {
		b.line("")
		b.line("# To look at:")
		for _, n := range d.Found.Notes {
			b.comment("", "- "+n)
		}
	}
	if others := d.Found.Locks; len(others) > 1 {
		b.line("")
		b.line("# Other keys that may be locks; lockaudit init --key KEY writes a plan for one of them:")
		for i, g := range others[1:] {
			if i == maxOthers {
				b.line("# … and %d more (lockaudit init --json lists them)", len(others)-1-maxOthers)
				break
			}
			b.comment("", fmt.Sprintf("- %s: %s", g.Pattern, strings.Join(Describe(g), "; ")))
		}
	}
}

// maxOthers of the other candidates are in the plan.
const maxOthers = 8

// longestMeasure is how long inspection takes at most, unless the plan is changed.
const longestMeasure = 60 * time.Second

func (d Draft) rest(b *draftText, best survey.Group) {
	b.line("")
	b.line("# TODO What the lock protects. Without it fencing cannot be tested.")
	b.line("# resource:")
	b.line("#   kind: http")
	b.line("#   url: http://ledger:8080/entries/{row}   # {row} becomes a row of the audit's own")
	b.line("#   token_header: X-Fencing-Token")
	b.line("")
	b.line("# TODO Where lock clients run, and how an agent is reached there; without nodes: this machine.")
	b.line("# nodes:")
	for i, c := range d.Found.Clients {
		if i == maxOthers {
			break
		}
		names := ""
		if len(c.Names) > 0 {
			names = ", " + strings.Join(c.Names, ", ")
		}
		b.comment("", fmt.Sprintf("  - {name: app-%d, roles: [client], via: [ssh, %s, sudo]}   # %d connections%s", i+1, quote(c.Address), c.Connections, names))
	}
	if len(d.Found.Clients) == 0 {
		b.line("#   - {name: app-1, roles: [client], via: [ssh, app-1, sudo]}")
	}
	for i, e := range d.Found.Endpoints {
		b.comment("", fmt.Sprintf("  - {name: lock-%d, roles: [lock], via: [ssh, %s, sudo]}", i+1, quote(hostOf(e))))
	}
	b.line("")
	b.line("probes: passive   # look only; all: the audit. lockaudit plan says what either would do")
	measure := min(max(best.Lease, DefaultMeasureFor), longestMeasure)
	b.line("measure_for: %s   # how long the lock's renewals and the nodes' pauses are watched", measure)
}

// Describe says what was seen of a candidate, one fact a line.
func Describe(g survey.Group) []string {
	what := "a " + g.Kind
	if strings.ContainsAny(g.Kind[:min(1, len(g.Kind))], "aeiou") {
		what = "an " + g.Kind
	}
	if g.Keys > 1 {
		what = fmt.Sprintf("%d keys, each %s", g.Keys, what)
	}
	out := []string{fmt.Sprintf("%s: %s", what, strings.Join(g.Why, ", "))}
	switch {
	case g.Lease == 0:
		out = append(out, "no lease")
	case g.Exact:
		out = append(out, fmt.Sprintf("a lease of %s", g.Lease))
	default:
		out = append(out, fmt.Sprintf("a lease of at least %s", g.Lease))
	}
	switch {
	case g.Every > 0:
		out = append(out, fmt.Sprintf("renewed about every %s", g.Every.Round(100*time.Millisecond)))
	case g.Renewals == 0 && g.Lease > 0:
		out = append(out, "no renewal seen")
	}
	if g.Owners > 1 {
		out = append(out, fmt.Sprintf("%d holders one after another", g.Owners))
	}
	if g.Waiting > 0 {
		out = append(out, fmt.Sprintf("%d waiting", g.Waiting))
	}
	return out
}

// draftText collects the lines of a plan. What was read from a server may hold
// anything; in a comment it must not end the line.
type draftText struct{ strings.Builder }

func (b *draftText) line(format string, args ...any) {
	fmt.Fprintln(b, printable(fmt.Sprintf(format, args...)))
}

func (b *draftText) comment(indent, text string) { b.line("%s# %s", indent, text) }

// printable replaces what breaks a line, a terminal or yaml.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// quote writes a string as yaml reads it back, whatever is in it: Go's escapes are
// among those of its double quotes.
func quote(s string) string { return strconv.Quote(s) }

func quoteAll(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, quote(s))
	}
	return strings.Join(out, ", ")
}

func tlsWords(t *locks.TLS) string {
	var out []string
	for _, f := range []struct{ key, value string }{{"ca", t.CAFile}, {"cert", t.CertFile}, {"key", t.KeyFile}, {"server_name", t.ServerName}} {
		if f.value != "" {
			out = append(out, f.key+": "+quote(f.value))
		}
	}
	return strings.Join(out, ", ")
}

func hostOf(endpoint string) string {
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		endpoint = rest
	}
	if i := strings.LastIndexByte(endpoint, ':'); i > 0 {
		endpoint = endpoint[:i]
	}
	return strings.Trim(endpoint, "[]")
}

var notInName = regexp.MustCompile(`[^a-z0-9._-]+`)

// draftName makes a plan's name of a lock's: the last words that are in it.
func draftName(pattern, backend string) string {
	words := strings.FieldsFunc(strings.ToLower(pattern), func(r rune) bool { return strings.ContainsRune("/:.*{}", r) })
	name := ""
	if n := len(words); n > 0 {
		name = strings.Trim(notInName.ReplaceAllString(words[n-1], "-"), "-._")
	}
	if name == "" || !nodeName.MatchString(name) {
		return backend + "-lock"
	}
	return name
}
