// Package all is the list of faults. A new one is a folder beside this one and a
// line here.
package all

import (
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/degrade"
	"github.com/lockaudit/lockaudit/inject/hold"
	"github.com/lockaudit/lockaudit/inject/hook"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/pause"
)

// Options of a guard's faults.
type Options struct {
	// Commands allows orders to name commands that then run with the rights of the
	// guard: hooks, and a server's restart command.
	Commands bool
	// NodeClock allows to disturb the clock of this machine, for everybody on it.
	NodeClock bool
}

// Faults returns one of each, in the order in which an agent names them.
func Faults(o Options) []inject.Fault {
	return []inject.Fault{
		pause.New(),
		partition.New(),
		hold.New(),
		degrade.New(),
		clock.New(),
		nodeclock.New(nodeclock.Options{Allow: o.NodeClock}),
		crash.New(crash.Options{Commands: o.Commands}),
		hook.New(hook.Options{Commands: o.Commands}),
	}
}

// StandIn is called first of all by a program that has Faults. It returns false at once
// unless the program was started as a process of one of them; then the program must end
// with status.
func StandIn() (status int, was bool) { return crash.StandIn() }
