// Package all is the list of faults. A new one is a folder beside this one and a
// line here.
package all

import (
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/pause"
)

// Faults returns one of each, in the order in which an agent names them.
func Faults() []inject.Fault {
	return []inject.Fault{
		pause.New(),
		partition.New(),
	}
}
