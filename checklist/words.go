package checklist

import (
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// Duration is the form for people: 12 ms below a second, 3.4 s from there.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return "under 1 ms"
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

// cite quotes the outcome of a call, or its invoke if it never had one. A note
// says why it matters.
func (t trial) cite(c *history.Call, note string) []Evidence {
	if c == nil {
		return nil
	}
	e := c.Invoke
	if c.Done != nil {
		e = *c.Done
		if e.Write == nil {
			e.Write = c.Invoke.Write
		}
		if e.Fault == nil {
			e.Fault = c.Invoke.Fault
		}
	}
	return t.quote(e, note)
}

func (t trial) quote(e history.Event, note string) []Evidence {
	text := words(e)
	if note != "" {
		text += " (" + note + ")"
	}
	return []Evidence{{Probe: t.probe, Trial: t.number, Seq: e.Seq, At: e.At, Actor: e.Actor, Text: text}}
}

// words tells one event to a person.
func words(e history.Event) string {
	switch e.Op {
	case history.OpLost:
		return "notices by itself that it no longer holds the lock"
	case history.OpAttempt:
		return "tries to write, and is kept off: " + e.Err
	case history.OpExit:
		return "ends by itself"
	case history.OpStart:
		if e.Step != "" {
			return "is " + e.Step
		}
		return "start → " + result(e, "done")
	case history.OpStep:
		return "step " + e.Step
	case history.OpStall:
		return "did not run by itself: " + sampleWords(e.Sample)
	case history.OpClock:
		return "reads the clock of " + e.Node + " → " + clockWords(e.Clock)
	case history.OpLead:
		return "is told that " + e.Node + " leads the lock service"
	case history.OpAcquire:
		return "acquire → " + result(e, "granted"+grantWords(e.Grant))
	case history.OpWrite:
		return "write " + tokenWords(e.Write) + " → " + result(e, "accepted")
	case history.OpStatus:
		return "asked whether it holds the lock → " + result(e, holdingWords(e.Holding))
	case history.OpObserve:
		return "asks the lock service → " + result(e, holderWords(e.Holder))
	case history.OpMeasure:
		return "measures " + result(e, sampleWords(e.Sample))
	case history.OpKill:
		return "is killed with SIGKILL → " + result(e, "gone")
	case history.OpInject:
		return "inject " + faultWords(e.Fault) + " → " + result(e, "done"+seenWords(e.Fault))
	case history.OpRevert:
		return "end " + faultWords(e.Fault) + " → " + result(e, "done"+seenWords(e.Fault))
	default:
		return string(e.Op) + " → " + result(e, "done")
	}
}

// result is the outcome of a call in words; happened is the wording for ok.
func result(e history.Event, happened string) string {
	switch e.Type {
	case history.OK:
		return happened
	case history.Fail:
		switch e.Code {
		case history.CodeHeld:
			return "refused: somebody else holds it"
		case history.CodeLost:
			return "refused: no longer the holder"
		case history.CodeStale:
			return "refused: stale token"
		}
		return "refused"
	case history.Invoke:
		return "no answer recorded"
	default:
		if e.Code != "" {
			return "unknown: " + string(e.Code)
		}
		return "unknown"
	}
}

func grantWords(g *history.Grant) string {
	if g == nil {
		return ""
	}
	text := ""
	if !g.Token.IsZero() {
		text += ", token " + short(g.Token)
	}
	if g.TTL > 0 {
		text += ", lease " + Duration(g.TTL)
	}
	return text
}

func tokenWords(w *history.Write) string {
	if w == nil || w.Token.IsZero() {
		return "without a token"
	}
	return "token " + short(w.Token)
}

// short cuts random values; numbers stay whole, because people compare them.
func short(t history.Token) string {
	const most = 12
	s := []rune(t.String())
	if t.Order == nil && len(s) > most {
		return string(s[:most]) + "…"
	}
	return string(s)
}

func holdingWords(holding *bool) string {
	switch {
	case holding == nil:
		return "did not say"
	case *holding:
		return "says yes"
	default:
		return "says no"
	}
}

func holderWords(h *history.Holder) string {
	switch {
	case h == nil:
		return "did not say"
	case h.Held && h.Left > 0:
		return "held, " + Duration(h.Left) + " of the lease left"
	case h.Held:
		return "held"
	default:
		return "free"
	}
}

func faultWords(f *history.Fault) string {
	switch {
	case f == nil:
		return "fault"
	case f.Target != "":
		return f.Kind + " of " + f.Target
	default:
		return f.Kind + " on " + f.Node
	}
}

func seenWords(f *history.Fault) string {
	if f == nil || f.Seen == "" {
		return ""
	}
	return ": " + f.Seen
}

// clockWords says how wrong a clock was when it was read.
func clockWords(c *history.Clock) string {
	switch {
	case c == nil:
		return "unknown"
	case c.Ahead.Abs() <= c.Error:
		return "right, within " + Duration(c.Error)
	case c.Ahead < 0:
		return Duration(-c.Ahead) + " behind, ±" + fine(c.Error)
	}
	return Duration(c.Ahead) + " ahead, ±" + fine(c.Error)
}
