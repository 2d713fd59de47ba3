package checklist

import (
	"fmt"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// Cases of the token-battery probe.
const (
	caseNewest     = "newest"
	caseEqualSame  = "equal-same-holder"
	caseStale      = "stale"
	caseMissing    = "missing"
	caseMalformed  = "malformed"
	caseNeverRow   = "never-written-row"
	caseConcurrent = "concurrent"
)

// batteryResult is what one entry of the battery showed.
type batteryResult struct {
	outcome  Outcome
	harm     bool
	summary  string
	evidence []Evidence
}

// judgeBattery lists what is wrong with the resource's treatment of tokens.
func judgeBattery(run record.Run) []batteryResult {
	var out []batteryResult
	for _, t := range trials(run, tokenBattery) {
		stale := t.entry(caseStale, "")
		newest := t.entry(caseNewest, "b")
		if accepted(newest) && accepted(stale) {
			out = append(out, batteryResult{Fail, true, "the resource accepted a write with an earlier holder's token",
				append(t.cite(newest, "the current holder"), t.cite(stale, "stale: an earlier holder's token")...)})
		}
		if rejected(newest) && accepted(stale) {
			out = append(out, batteryResult{Fail, true, "the resource refused the current holder's token and afterwards accepted an earlier holder's",
				append(t.cite(newest, "the current holder"), t.cite(stale, "stale: an earlier holder's token")...)})
		}
		for _, actor := range []string{"a", "b"} {
			for _, kase := range []string{caseNewest, caseEqualSame} {
				if c := t.entry(kase, actor); rejected(c) {
					out = append(out, batteryResult{Fail, false, "the resource refused a write of the rightful holder",
						t.cite(c, "the newest token, "+kase)})
				}
			}
		}
		if rejected(stale) { // tokens are looked at, so one that is none must not pass
			for _, kase := range []string{caseMissing, caseMalformed} {
				if c := t.entry(kase, ""); accepted(c) {
					out = append(out, batteryResult{Fail, false,
						fmt.Sprintf("the resource accepted a write whose token was %s: who sends none is not fenced", kase), t.cite(c, kase)})
				}
			}
			if c := t.entry(caseNeverRow, ""); accepted(c) {
				out = append(out, batteryResult{Warn, false,
					"a stale holder can still write rows that no newer holder has written yet", t.cite(c, "stale token, untouched row")})
			}
		}
		out = append(out, t.overtaken()...)
	}
	return out
}

// shownIn counts the trials in which the battery showed the same thing.
func shownIn(results []batteryResult, summary string) int {
	seen := map[int]bool{}
	for _, r := range results {
		if r.summary == summary && len(r.evidence) > 0 {
			seen[r.evidence[0].Trial] = true
		}
	}
	return len(seen)
}

// entry is the first write of the battery under that case, of any actor if "".
func (t trial) entry(kase, actor string) *history.Call {
	for i, c := range t.calls {
		if c.Invoke.Op == history.OpWrite && c.Invoke.Case == kase && (actor == "" || c.Invoke.Actor == actor) {
			return &t.calls[i]
		}
	}
	return nil
}

// overtaken finds, among the writes sent at the same moment, a stale one that the
// resource accepted after one with a newer token.
func (t trial) overtaken() []batteryResult {
	concurrent := history.Filter(t.events, func(e history.Event) bool { return e.Case == caseConcurrent })
	var out []batteryResult
	for _, s := range history.StaleWrites(concurrent) {
		out = append(out, batteryResult{Fail, true, "of two writes at the same moment the resource accepted the stale one after the newer one",
			append(t.quote(s.Newer, orderOf(s.Newer)), t.quote(s.Write, orderOf(s.Write)+", stale")...)})
	}
	return out
}

// orderOf says where the resource put an accepted write.
func orderOf(e history.Event) string {
	if e.Write == nil || e.Write.Seq == 0 {
		return "of the same moment"
	}
	return fmt.Sprintf("write %d of the resource", e.Write.Seq)
}
