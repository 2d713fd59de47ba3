package plan

import (
	"errors"
	"strings"
	"testing"
)

func TestWaivers(t *testing.T) {
	p, err := Parse([]byte(good + `
owner: {team: billing, contact: "#oncall"}
waivers:
  - {item: tls_and_auth, owner: jane, reason: private network, until: 2026-12-31}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Waiver{Item: "tls_and_auth", Owner: "jane", Reason: "private network", Until: "2026-12-31"}
	if len(p.Waivers) != 1 || p.Waivers[0] != want || p.Owner != (Owner{"billing", "#oncall"}) {
		t.Errorf("%+v %+v", p.Waivers, p.Owner)
	}
	for text, want := range map[string]string{
		"[{owner: j, reason: r, until: 2026-12-31}]":                                                             "names no item",
		"[{item: a, reason: r, until: 2026-12-31}]":                                                              "has no owner",
		"[{item: a, owner: j, until: 2026-12-31}]":                                                               "has no reason",
		"[{item: a, owner: j, reason: r}]":                                                                       `ends on ""`,
		"[{item: a, owner: j, reason: r, until: 2026-02-30}]":                                                    "not a day",
		"[{item: a, owner: j, reason: r, until: never}]":                                                         "not a day",
		"[{item: a, owner: j, reason: r, until: 2026-12-31T10:00:00Z}]":                                          "not a day",
		"[{item: a, owner: j, reason: r, untill: 2026-12-31}]":                                                   `unknown key "untill"`,
		"[{item: a, owner: j, reason: r, until: 2026-12-31}, {item: a, owner: j, reason: r, until: 2026-12-31}]": "waived twice",
	} {
		_, err := Parse([]byte(good + "waivers: " + text + "\n"))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Msg, want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
