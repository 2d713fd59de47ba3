package swimlane

import (
	"strings"

	"github.com/lockaudit/lockaudit/history"
)

// sayCall is a call in a few words for the picture, and in a sentence.
func sayCall(c history.Call) (label, text string) {
	e := c.Invoke
	if c.Done != nil {
		e = *c.Done
	}
	result := outcome(c)
	switch e.Op {
	case history.OpAcquire:
		if c.Type() == history.OK && e.Grant != nil {
			token := with(short(e.Grant.Token))
			return "granted" + token, "acquires → granted" + comma("token", token)
		}
		return result, "acquires → " + result
	case history.OpRenew:
		return "renewed", "renews → " + result
	case history.OpRelease:
		if c.Type() == history.OK {
			return "released", "releases"
		}
		return "release: " + result, "releases → " + result
	case history.OpObserve:
		return "seen " + held(c), "asks the lock service → " + held(c)
	case history.OpWrite:
		token, _ := c.Written()
		if c.Type() == history.OK {
			result = "accepted"
		}
		name := short(token)
		if name == "" {
			name = "no token"
		}
		return name + " " + result, "writes" + comma("token", with(name)) + " → " + result
	case history.OpRead:
		return "read", "reads → " + result
	case history.OpStatus:
		return "believes: " + belief(c), "asked whether it holds the lock → " + belief(c)
	case history.OpKill:
		return "killed", "is killed with SIGKILL → " + result
	case history.OpInject:
		return faultName(e.Fault) + " begins", faultName(e.Fault) + " begins → " + result + seen(c)
	case history.OpRevert:
		return faultName(c.Invoke.Fault) + " ends", faultName(c.Invoke.Fault) + " ends → " + result + seen(c)
	}
	return string(e.Op), string(e.Op) + " → " + result
}

func outcome(c history.Call) string {
	code := history.Code("")
	if c.Done != nil {
		code = c.Done.Code
	}
	switch c.Type() {
	case history.OK:
		return "done"
	case history.Fail:
		switch code {
		case history.CodeHeld:
			return "refused: held"
		case history.CodeLost:
			return "refused: lost"
		case history.CodeStale:
			return "refused"
		}
		return "refused"
	}
	if c.Done == nil {
		return "no answer"
	}
	if code != "" {
		return "unknown: " + string(code)
	}
	return "unknown"
}

func held(c history.Call) string {
	switch {
	case c.Type() != history.OK || c.Done.Holder == nil:
		return outcome(c)
	case c.Done.Holder.Held:
		return "held"
	}
	return "free"
}

func belief(c history.Call) string {
	switch {
	case c.Type() != history.OK || c.Done.Holding == nil:
		return outcome(c)
	case *c.Done.Holding:
		return "yes"
	}
	return "no"
}

func seen(c history.Call) string {
	if c.Done == nil || c.Done.Fault == nil || c.Done.Fault.Seen == "" {
		return ""
	}
	return ": " + c.Done.Fault.Seen
}

func faultName(f *history.Fault) string {
	if f == nil || f.Kind == "" {
		return "fault"
	}
	return f.Kind
}

// short cuts random values; numbers stay whole, because people compare them.
func short(t history.Token) string {
	const most = 8
	s := []rune(t.Wire())
	if t.Order == nil && len(s) > most {
		return string(s[:most]) + "…"
	}
	return string(s)
}

func with(token string) string {
	if token == "" {
		return ""
	}
	return " " + token
}

// comma puts a word before what with returned.
func comma(word, token string) string {
	if token == "" || token == " no token" {
		return strings.Replace(token, " no", " without", 1)
	}
	return ", " + word + token
}
