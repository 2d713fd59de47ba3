package agent

import (
	"errors"
	"strings"
	"testing"
)

// TestVersions: real agents that speak less and more, and auditors that do. They agree on
// the newest version of both, or refuse with both named.
func TestVersions(t *testing.T) {
	tests := []struct {
		agent   string // "": as this program
		auditor Range
		want    int // 0: none
	}{
		{"", Range{}, Version},
		{"1-1", Range{}, 1},
		{"2-9", Range{}, 2},
		{"1-2", Range{1, 1}, 1},
		{"1-2", Range{2, 7}, 2},
		{"3-4", Range{}, 0},
		{"1-1", Range{2, 3}, 0},
	}
	for _, tt := range tests {
		c := testCommand(t, stateDir(t))
		c.Env = append(c.Env, testSpeak+"="+tt.agent)
		c.Tool, c.speaks = "v1.2.3", tt.auditor
		conn, err := Dial(testCtx(t), c, nil)
		if tt.want == 0 {
			var u *Unreached
			if !errors.Is(err, ErrVersion) || !errors.As(err, &u) || u.Trouble != TroubleVersion {
				t.Errorf("agent %s, auditor %v: %v, want ErrVersion", tt.agent, tt.auditor, err)
				continue
			}
			theirs, _ := ParseRange(tt.agent)
			for _, words := range []string{"(test) speaks " + theirs.String(), "(v1.2.3) " + tt.auditor.spoken().String()} {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%v: does not say %q", err, words)
				}
			}
			continue
		}
		if err != nil {
			t.Errorf("agent %s, auditor %v: %v", tt.agent, tt.auditor, err)
			continue
		}
		// What is older has no pings, and keeps the connection all the same.
		if h := conn.Hello(); h.Version != tt.want || (h.Silence > 0) != (tt.want >= pings) {
			t.Errorf("agent %s, auditor %v: %+v, want version %d", tt.agent, tt.auditor, h, tt.want)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusalOfOld: the words of the agents that did not tell their range yet.
func TestRefusalOfOld(t *testing.T) {
	f := &failure{Code: "refused", Err: "this agent (v0.1-3-gabc) speaks version 1 of the protocol, not 2: refused"}
	m, ok := refusal(f.decode())
	if !ok || m.agent != "v0.1-3-gabc" || m.speaks != (Range{1, 1}) {
		t.Errorf("%+v, %v", m, ok)
	}
	if _, ok := refusal(errors.New("connection closed")); ok {
		t.Error("any error is a refusal")
	}
}
