package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/locks"
	lockall "github.com/lockaudit/lockaudit/locks/all"
	resourceall "github.com/lockaudit/lockaudit/resources/all"
	"github.com/spf13/cobra"
)

func clientCommand() *cobra.Command {
	drivers := lockall.Drivers()
	var names []string
	for _, d := range drivers {
		names = append(names, d.Name())
	}
	var o observe
	cmd := &cobra.Command{
		Use:   "client BACKEND",
		Short: "Be a lock client: speak the client protocol on stdin and stdout",
		Long: `Speaks the lock-client protocol (docs/client-protocol.md), one JSON object a
line. The audit starts this on the client nodes; by hand it is good for trying
a lock service out. Backends: ` + strings.Join(names, ", ") + `.

With --metrics-listen and --log it tells of its failures to acquire as an
application should: the counter lock_acquire_total by outcome, and a line each. With
--tell granted it tells of its successes alone, as applications do whose failures
nobody sees: what such a client hides is what the audit should find.`,
		Example: `  lockaudit client check redis://127.0.0.1:6379 -- python3 client.py   a client of your own
  echo '{"id":1,"op":"init","version":1,"lock":{"backend":"redis","endpoints":["127.0.0.1:6379"],"key":"k","ttl":10000000000}}' | lockaudit client redis`,
		Args:      exactly(1, "BACKEND"),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			i := slices.Index(names, args[0])
			if i < 0 {
				return exit{exitUsage, hinted{fmt.Errorf("unknown backend %q", args[0]), "known are " + strings.Join(names, ", ")}}
			}
			attempts, err := o.open(cmd.ErrOrStderr())
			var usage exit
			switch {
			case errors.As(err, &usage):
				return err
			case err != nil:
				return couldNotRun(err)
			}
			err = clients.Serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), clients.ServeOptions{
				Name: "lockaudit " + version, Locks: []locks.Driver{drivers[i]}, Resources: resourceall.Kinds(),
				Attempted: attempts.record,
			})
			err = errors.Join(err, attempts.close())
			if err != nil {
				return couldNotRun(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.listen, "metrics-listen", "", "serve Prometheus metrics of the acquires on this address, from the first one on")
	cmd.Flags().StringVar(&o.log, "log", "", "append a line to this file for every acquire that fails")
	cmd.Flags().StringVar(&o.tell, "tell", tellAll, "which acquires it tells of: all, or granted (those that succeed)")
	cmd.AddCommand(clientCheckCommand())
	return cmd
}
