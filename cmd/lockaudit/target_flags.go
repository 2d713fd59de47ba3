package main

import (
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/spf13/cobra"
)

// targetFlags name the process that a fault is for, the same for every fault.
type targetFlags struct {
	s      target.Selector
	prefix string
}

// bind defines the flags; a fault whose own flags have one of these names puts a
// prefix before all of them.
func (f *targetFlags) bind(cmd *cobra.Command, prefix string) {
	f.prefix = prefix
	flags := cmd.Flags()
	flags.IntVar(&f.s.PID, prefix+"pid", 0, "the process with this id")
	flags.StringVar(&f.s.Name, prefix+"name", "", "the process of this name, as in ps -e")
	flags.StringVar(&f.s.Cmdline.Joined, prefix+"cmdline", "", "the process with exactly this command line")
	flags.StringVar(&f.s.PIDFile, prefix+"pid-file", "", "the process whose id is in this file")
	flags.StringVar(&f.s.Unit, prefix+"unit", "", "the main process of this systemd service")
	flags.StringVar(&f.s.Container, prefix+"container", "", "the first process of this container, by its id or the beginning of it")
	flags.IntVar(&f.s.Port, prefix+"port", 0, "the process that listens on this port")
	flags.StringVar(&f.s.Netns, prefix+"port-netns", "", "the network namespace of the port, as a path; the default is the agent's")
}

// selector is the process that is named, in exactly one way.
func (f *targetFlags) selector() (target.Selector, error) {
	if f.s.IsZero() {
		p := "--" + f.prefix
		return target.Selector{}, usage("no process is named: one of %spid, %sname, %scmdline, %spid-file, %sunit, %scontainer, %sport is needed", p, p, p, p, p, p, p)
	}
	if err := f.s.Validate(); err != nil {
		return target.Selector{}, exit{exitUsage, err}
	}
	return f.s, nil
}

// targetHelp is the part of a fault's help about them.
const targetHelp = `The process is named in exactly one way. What fits several processes is refused,
with the candidates; a process and its forked children of the same name are one.
`
