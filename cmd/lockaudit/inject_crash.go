package main

import (
	"encoding/json"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/spf13/cobra"
)

func injectCrashCommand() *cobra.Command {
	var target targetFlags
	var p crash.Params
	var r crash.Restart
	var uid, gid int64
	var patience time.Duration
	var f injectFlags
	cmd := &cobra.Command{
		Use:   "crash --unit UNIT|--pid PID|… [--down-for DURATION] --for DURATION",
		Short: "Kill a server with SIGKILL, and have it started again",
		Long: `Kills a server with SIGKILL and has it started again: at once, after --down-for,
on ctrl-C, or when --for is over, whichever comes first. It says that it runs only
after it has seen a process in its place that listens wherever the server did.

The main process of a systemd service is started again by its Restart=, or else by
systemd on request. Any other server is started as it was: the same program,
arguments, environment, directory, user, limits and log files. It does so even if
lockaudit, its agent and its guard are all killed. A server that writes over its
command line, as Redis does, needs --restart. Before it is used, what supervises the
server should be known: a supervisor that is not systemd may start a second one.

` + targetHelp + `
` + injectExit,
		Example: `  lockaudit inject crash --unit etcd --for 30s                  killed, and started by systemd
  lockaudit inject crash --unit etcd --down-for 10s --for 30s   it stays down for 10 s
  lockaudit inject crash --port 2379 --for 30s --dry-run        what would be killed, and how started?
  lockaudit inject crash --port 6379 --restart redis-server,/etc/redis/redis.conf --for 30s
  lockaudit inject crash --pid 4711 --restart /opt/db/start --uid 999 --gid 999 --log /var/log/db.log --for 1m`,
		Args: exactly(0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := target.selector()
			if err != nil {
				return err
			}
			if err := f.checkFor(cmd); err != nil {
				return err
			}
			if p.DownFor < 0 || p.DownFor > f.duration {
				return usage("--down-for is longer than --for, the time after which the server is started at the latest")
			}
			if patience < 0 || patience > inject.MaxPatience {
				return usage("--start-within is at most %s", inject.MaxPatience)
			}
			for _, flag := range []string{"uid", "gid", "log", "dir", "env"} {
				if cmd.Flags().Changed(flag) && len(r.Argv) == 0 {
					return usage("--%s belongs to --restart: without it the server is started as it was", flag)
				}
			}
			if uid > 1<<32-2 || gid > 1<<32-2 || uid < -1 || gid < -1 {
				return usage("--uid or --gid is not a user or group id")
			}
			r.UID, r.GID = id(uid), id(gid)
			if p.Target = s; len(r.Argv) > 0 {
				p.Restart, f.allow = &r, []string{"--allow-commands"} // typed on this machine
			}
			params, err := json.Marshal(p)
			if err != nil {
				return couldNotRun(err)
			}
			f.once = p.DownFor == 0
			return injectByHand(cmd, inject.Spec{Kind: crash.Kind, For: f.duration, Patience: patience, Params: params}, f)
		},
	}
	target.bind(cmd, "")
	flags := cmd.Flags()
	flags.DurationVar(&p.DownFor, "down-for", 0, "how long the server stays down; 0 starts it again at once")
	flags.DurationVar(&patience, "start-within", 20*time.Second, "how long it may take to listen again, once started")
	flags.StringSliceVar(&r.Argv, "restart", nil, "the command that starts it, as PROGRAM,ARGUMENT,…; no shell")
	flags.StringArrayVar(&r.Env, "env", nil, "NAME=value for --restart, instead of the server's own environment; repeatable")
	flags.StringVar(&r.Dir, "dir", "", "the directory for --restart; the default is the server's own")
	flags.StringVar(&r.Log, "log", "", "a file for the output of --restart; the default is the server's own")
	flags.Int64Var(&uid, "uid", -1, "the user for --restart; the default is the server's own")
	flags.Int64Var(&gid, "gid", -1, "the group for --restart; the default is the server's own")
	f.bind(cmd)
	return cmd
}

// id is a user or group id; nil: not given.
func id(n int64) *uint32 {
	if n < 0 {
		return nil
	}
	u := uint32(n)
	return &u
}
