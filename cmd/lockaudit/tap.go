package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/lockaudit/lockaudit/tap"
	"github.com/spf13/cobra"
)

func tapCommand() *cobra.Command {
	var listen, to, file string
	var o tap.Options
	cmd := &cobra.Command{
		Use:   "tap --listen HOST:PORT --to URL --record FILE",
		Short: "A reverse proxy before a resource that records who wrote, in which order, with which token",
		Long: `Stands before the HTTP resource that the lock protects, and writes down a JSON line
for each request: its number, time, sender, method, path, fencing token, and the status
that the resource answered. No body, no query and no other header is recorded, and what
is let through is let through as it came. Writes go through one at a time, so that their
numbers are the order of their effects; reads are not held up.

A plan names the record as clients.observe.effects.tap, and the audit then sees the
application's writes: docs/observe.md. Let the application's URL lead to the tap, and the
plan's resource too: what leads past the tap the audit neither sees nor keeps off.

While the file of --hold-while is there, writes are kept back; while that of
--refuse-while is there, they are answered with 503 and never reach the resource.
If the record cannot be kept, nothing is let through.

Exit status:
  0   it was ended
  3   it could not listen, or not keep its record
  64  the command line is wrong`,
		Example: `  lockaudit tap --listen :8090 --to http://ledger:8080 --record /var/log/lockaudit-tap.jsonl
  lockaudit tap --listen :8090 --to http://ledger:8080 --record tap.jsonl --hold-while /run/hold`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, err := url.Parse(to)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return exit{exitUsage, hinted{fmt.Errorf("--to %q is not a URL", to), "for example --to http://ledger:8080"}}
			}
			if listen == "" || file == "" {
				return exit{exitUsage, hinted{errors.New("--listen or --record is missing"), "lockaudit tap --help"}}
			}
			o.To = u
			if err := serveTap(cmd.Context(), listen, file, o); err != nil {
				return couldNotRun(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "where clients reach the tap, HOST:PORT")
	cmd.Flags().StringVar(&to, "to", "", "URL of the resource")
	cmd.Flags().StringVar(&file, "record", "", "file to which a line is appended for each request")
	cmd.Flags().StringVar(&o.TokenHeader, "token-header", "X-Fencing-Token", "header that carries the fencing token")
	cmd.Flags().StringVar(&o.HoldWhile, "hold-while", "", "keep writes back while this file is there")
	cmd.Flags().StringVar(&o.RefuseWhile, "refuse-while", "", "refuse writes while this file is there")
	return cmd
}

// serveTap runs until ctx ends.
func serveTap(ctx context.Context, listen, file string, o tap.Options) (err error) {
	record, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the record of the tap: %w", err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("start tap: %w", err)
	}
	t := tap.New(o, record)
	server := &http.Server{Handler: t, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("run tap: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(ending), t.Err())
}
