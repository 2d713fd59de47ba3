package check

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// brokenClients: what is broken, and what the check says of it.
func brokenClients() []struct{ check, how, says string } {
	return []struct{ check, how, says string }{
		{"it starts, and answers init", "prints", "is not a client-protocol message"},
		{"it starts, and answers init", "boasts", `the capability "magic" is none of`},
		{"it starts, and answers init", "silent", "none within 10s"},
		{"it starts, and answers init", "dies", "ended its output"},
		{"it refuses a protocol version that it does not speak", "any version", "answered ok"},
		{"it grants a free lock, with a token and the lease as granted", "no lease", "has no ttl_ms"},
		{"it grants a free lock, with a token and the lease as granted", "no token", "ok to acquire without token"},
		{"it fails with held while another client holds the lock", "grants all", "answered ok, want fail held"},
		{"it fails with held while another client holds the lock", "unsure", "answered info"},
		{"it fails with held while another client holds the lock", "wrong code", `fail to acquire with code "busy"`},
		{"it says what it believes, without asking the service", "believer", "says holding true"},
		{"it answers one request while another one waits", "one by one", "no answer to status"},
		{"a waiting acquire gets the lock once it is free", "impatient", "at once"},
		{"a wait that is cancelled, or runs out, ends, and leaves nothing behind", "stubborn", "a second after the last waiter was cancelled"},
		{"a release frees the lock, and only once", "glad", "second release of the same hold: answered ok"},
		{"a token that is not its hold releases and renews nothing", "glad", "that nobody was given: answered ok"},
		{"each grant has a token of its own", "one token", "was given twice"},
		{"each grant has a token of its own", "numbers", "token.order is there: true"},
		{"a renewal makes the lease longer", "idle renew", "of a lock that was renewed: answered ok"},
		{"a hold ends with its lease: not early, and its release says lost", "short lease", "after it was granted for"},
		{"a hold ends with its lease: not early, and its release says lost", "glad", "release after the lease: answered ok"},
		{"two processes never hold the lock at one time", "grants all", "two processes held the lock"},
		{"a service that cannot be reached grants nothing", "grants all", "answered ok"},
		{"an acquire whose reply is lost has an unknown end", "sure", "but the lock is taken"},
		{"an acquire whose connection breaks has an unknown end", "sure", "but the lock is taken"},
		{"it sends token, value and op_id to the resource as they are", "no raw", `arrived with token`},
		{"it tells what the resource refused from what nobody knows", "no stale", "answered fail refused"},
		{"it tells what the resource refused from what nobody knows", "sure writes", "want info"},
		{"it refuses a request that it does not know", "shrugs", "answered info"},
		{"at the end of its input it leaves, and releases nothing", "lingers", "still runs"},
	}
}

// breakIt breaks a client in one way. It reports whether the client stays after the end
// of its input.
func breakIt(how string, b *between) (linger bool) {
	answered := make(chan int, 1000)
	ok := func(r clients.Request, a clients.Answer) *clients.Request {
		b.say(clients.Message{ID: r.ID, OK: &a})
		return nil
	}
	switch how {
	case "prints":
		fmt.Println("connected to Redis")
	case "boasts":
		b.message = func(m clients.Message) *clients.Message {
			if b.op(m.ID) == clients.OpInit {
				m.OK.Capabilities = append(m.OK.Capabilities, "magic")
			}
			return &m
		}
	case "silent":
		b.message = func(clients.Message) *clients.Message { return nil }
	case "dies":
		b.request = func(clients.Request) *clients.Request { panic("no such module") }
	case "any version":
		b.request = func(r clients.Request) *clients.Request {
			if r.Op == clients.OpInit {
				r.Version = clients.Version
			}
			return &r
		}
	case "no lease", "no token", "one token", "numbers":
		b.message = func(m clients.Message) *clients.Message {
			if m.OK != nil && b.op(m.ID) == clients.OpAcquire {
				switch how {
				case "no lease":
					m.OK.TTLms = 0
				case "no token":
					m.OK.Token = nil
				case "one token":
					m.OK.Token = &history.Token{ID: "same"}
				case "numbers":
					m.OK.Token.Order = history.OrderedToken(1).Order
				}
			}
			return &m
		}
		b.request = func(r clients.Request) *clients.Request {
			if r.Op == clients.OpRelease {
				r.Token = nil // its latest
			}
			return &r
		}
	case "grants all":
		b.request = func(r clients.Request) *clients.Request {
			switch r.Op {
			case clients.OpInit:
				return ok(r, clients.Answer{Version: clients.Version})
			case clients.OpAcquire:
				return ok(r, clients.Answer{Token: &history.Token{ID: rand.Text()}, TTLms: r.TTLms})
			}
			return ok(r, clients.Answer{})
		}
	case "unsure", "wrong code", "sure":
		b.message = func(m clients.Message) *clients.Message {
			if b.op(m.ID) != clients.OpAcquire {
				return &m
			}
			switch {
			case how == "unsure" && m.Fail != nil:
				m.Info, m.Fail = m.Fail, nil
			case how == "wrong code" && m.Fail != nil:
				m.Fail.Code = "busy"
			case how == "sure" && m.Info != nil:
				m.Fail, m.Info = &clients.Failure{Code: history.CodeHeld}, nil
			}
			answered <- m.ID
			return &m
		}
		if how == "sure" { // and has a timeout, after which it claims to know
			b.request = func(r clients.Request) *clients.Request {
				if r.Op == clients.OpAcquire && r.WaitMs == 0 {
					go func() {
						select {
						case <-answered:
						case <-time.After(3 * time.Second):
							b.say(clients.Message{ID: r.ID, Fail: &clients.Failure{Code: history.CodeHeld}})
						}
					}()
				}
				return &r
			}
		}
	case "believer":
		b.request = func(r clients.Request) *clients.Request {
			if r.Op == clients.OpStatus {
				yes := true
				return ok(r, clients.Answer{Holding: &yes})
			}
			return &r
		}
	case "one by one":
		b.message = func(m clients.Message) *clients.Message {
			answered <- m.ID
			return &m
		}
		b.request = func(r clients.Request) *clients.Request {
			if r.Op == clients.OpCancel {
				return nil
			}
			b.forward(r)
			<-answered // before the next one is read
			return nil
		}
	case "impatient", "short lease", "no raw":
		b.request = func(r clients.Request) *clients.Request {
			switch how {
			case "impatient":
				r.WaitMs = 0
			case "short lease":
				r.TTLms /= 3
			case "no raw":
				r.RawToken = ""
			}
			return &r
		}
		if how == "short lease" {
			b.message = func(m clients.Message) *clients.Message {
				if m.OK != nil && m.OK.TTLms > 0 {
					m.OK.TTLms *= 3
				}
				return &m
			}
		}
	case "stubborn":
		b.request = func(r clients.Request) *clients.Request {
			if r.Op == clients.OpCancel {
				return ok(r, clients.Answer{})
			}
			return &r
		}
	case "glad":
		b.message = func(m clients.Message) *clients.Message {
			if m.Fail != nil && b.op(m.ID) == clients.OpRelease {
				m.OK, m.Fail = &clients.Answer{}, nil
			}
			return &m
		}
	case "idle renew":
		b.request = func(r clients.Request) *clients.Request {
			if r.Op == clients.OpRenew {
				return ok(r, clients.Answer{TTLms: 1000})
			}
			return &r
		}
	case "no stale", "sure writes", "shrugs":
		b.message = func(m clients.Message) *clients.Message {
			write := b.op(m.ID) == clients.OpWrite
			switch {
			case how == "no stale" && write && m.Fail != nil:
				m.Fail.Code = history.CodeRefused
			case how == "sure writes" && write && m.Info != nil:
				m.Fail, m.Info = &clients.Failure{Code: history.CodeRefused}, nil
			case how == "shrugs" && b.op(m.ID) == "juggle":
				m.Info, m.Fail = &clients.Failure{Err: "what?"}, nil
			}
			return &m
		}
	case "lingers":
		return true
	}
	return false
}
