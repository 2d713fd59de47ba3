// Package check is the battery that a lock client of the user's own has to pass before
// an audit with it says anything: it starts the client as a process, speaks the protocol
// to it against a real lock service, and says in plain words what is right and what is
// wrong. Where a wrong answer would only show when a reply is lost, it loses one: clients
// reach the service by way of a relay of its own.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/locks"
)

// Options say which client is looked at, and against what.
type Options struct {
	// Argv and Env start it; Env goes on top of this process's own.
	Argv, Env []string
	// Target is a lock service that answers. Its Key is the prefix of the keys used.
	Target locks.Target
	// Log gets what the clients write to stderr.
	Log io.Writer
	// Progress is called before each check.
	Progress func(name string)
}

// Outcome of one check.
type Outcome string

// The outcomes. Unshown is neither: the client does not promise it, or this machine or
// service did not let it be seen.
const (
	Right   Outcome = "right"
	Wrong   Outcome = "wrong"
	Unshown Outcome = "not tested"
)

// Result is what one check found.
type Result struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Words say what was seen, where that is not the check itself; Fix what to change.
	Words string `json:"words,omitempty"`
	Fix   string `json:"fix,omitempty"`
}

// Report is the whole battery.
type Report struct {
	Client       string             `json:"client"` // as it names itself
	Capabilities []locks.Capability `json:"capabilities"`
	Results      []Result           `json:"results"`
}

// Count says how many checks ended so.
func (r Report) Count(o Outcome) (n int) {
	for _, x := range r.Results {
		if x.Outcome == o {
			n++
		}
	}
	return n
}

// ErrStart: the program could not be started at all.
var ErrStart = errors.New("cannot be started")

// unshown is the error of a check that has nothing to say.
type unshown string

func (u unshown) Error() string { return string(u) }

// check is one requirement: the sentence is true of a right client.
type check struct {
	name string
	fix  string
	run  func(ctx context.Context, b *bench) error
}

// Run carries out every check. A client that cannot be introduced to the service fails
// the first one, and the others are then not carried out.
func Run(ctx context.Context, o Options) (Report, error) {
	b := &bench{o: o, run: fmt.Sprintf("%x", time.Now().UnixNano())}
	defer b.close()
	var report Report
	for i, c := range checks() {
		if o.Progress != nil {
			o.Progress(c.name)
		}
		err := c.run(ctx, b)
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		if errors.Is(err, ErrStart) {
			return report, err
		}
		result := Result{Check: c.name, Outcome: Right}
		var skip unshown
		switch {
		case errors.As(err, &skip):
			result.Outcome, result.Words = Unshown, err.Error()
		case err != nil:
			result.Outcome, result.Words, result.Fix = Wrong, err.Error(), c.fix
		}
		report.Results = append(report.Results, result)
		if i == 0 {
			report.Client, report.Capabilities = b.name, b.caps
			if err != nil {
				return report, nil
			}
		}
		b.dropBroken()
	}
	return report, nil
}

// checks lists the battery. The first one must be the introduction.
func checks() []check {
	const lines = "write one JSON object a line to stdout and nothing else; everything for people goes to stderr"
	return []check{
		{"it starts, and answers init", lines, introduced},
		{"it refuses a protocol version that it does not speak", "answer fail refused unless version is 1", otherVersion},
		{"it grants a free lock, with a token and the lease as granted", "ok to acquire has token.id, and ttl_ms as the service granted it", grants},
		{"it fails with held while another client holds the lock", "answer fail held only when the service itself has said so, and leave nothing behind", held},
		{"it says what it believes, without asking the service", "status: true after a grant, false after release and loss, from memory", believes},
		{"it answers one request while another one waits", "handle requests concurrently: each answer carries the id of its request", overlaps},
		{"a waiting acquire gets the lock once it is free", "keep trying until wait_ms is over", waiterGets},
		{"a wait that is cancelled, or runs out, ends, and leaves nothing behind", "end the waiting on cancel; both requests get an answer", waiterEnds},
		{"a release frees the lock, and only once", "the second release of a hold is fail lost: compare the value before deleting the key", releases},
		{"a token that is not its hold releases and renews nothing", "release and renew only the hold that the token names; fail lost for any other", foreign},
		{"each grant has a token of its own", "a fresh random value or the service's own number for each grant; order only if later grants have larger ones", tokens},
		{"a renewal makes the lease longer", "renew sets the lease anew, or leave the word renew out of the capabilities", renews},
		{"a hold ends with its lease: not early, and its release says lost", "ask the service for exactly ttl_ms, report it as granted, and compare the value on release", expires},
		{"two processes never hold the lock at one time", "take the lock in one atomic step at the service", excludes},
		{"a service that cannot be reached grants nothing", "info, for whatever the network does", deadService},
		{"an acquire whose reply is lost has an unknown end", "info when no answer comes: a wrong fail makes the audit's verdict worthless", lostReply},
		{"an acquire whose connection breaks has an unknown end", "info when the connection breaks: a wrong fail makes the audit's verdict worthless; never repeat the request", brokenReply},
		{"it sends token, value and op_id to the resource as they are", "raw_token if it is set, else token.order, else token.id", writes},
		{"it tells what the resource refused from what nobody knows", "409 and 412 are fail stale, other 4xx fail refused, everything else but 2xx info", refusals},
		{"it refuses a request that it does not know", "answer fail refused to an unknown op", unknownOp},
		{"at the end of its input it leaves, and releases nothing", "end the process when stdin ends; a hold is then left to its lease", leaves},
	}
}

// limit of one answer: an audit waits half as long.
const limit = 10 * time.Second

// expect returns an error unless the reply is what a right client says.
func expect(what string, r clients.Reply, typ string) error {
	got := said(r)
	if got == typ || (typ == "fail" && r.Type == "fail") {
		return nil
	}
	return fmt.Errorf("%s: answered %s%s, want %s", what, got, because(r), typ)
}

// said is a reply in the protocol's words: ok, fail held, info.
func said(r clients.Reply) string {
	if r.Type == "fail" {
		return "fail " + string(r.Code)
	}
	return string(r.Type)
}

func because(r clients.Reply) string {
	if r.Err == "" {
		return ""
	}
	return " (" + r.Err + ")"
}
