package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lockaudit/lockaudit/lab"
)

// newKeep is pid 1 of a lab; only lab.Up runs it.
func newKeep(base *string) *cobra.Command {
	var program string
	var maxAge time.Duration
	cmd := &cobra.Command{
		Use: "keep LAB", Short: "Be the keeper of a lab (run by locklab up)", Hidden: true, Args: oneLab,
		RunE: func(cmd *cobra.Command, a []string) error {
			return lab.Keeper{
				Base: *base, Name: a[0], Program: program, MaxAge: maxAge, Up: lab.UpFile(), Log: os.Stderr,
			}.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&program, "program", "", "path of the lock server, if it is not built in")
	cmd.Flags().DurationVar(&maxAge, "max-age", lab.MaxAge, "end after this time")
	return cmd
}

// newServe is a server of a lab; only keepers run it.
func newServe() *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Be a server of a lab (run by its keeper)", Hidden: true, Args: args(cobra.NoArgs)}

	var m member
	etcd := &cobra.Command{
		Use: "etcd", Short: "Be a member of an etcd cluster", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context()) },
	}
	etcd.Flags().StringVar(&m.name, "name", "", "name of the member")
	etcd.Flags().StringVar(&m.ip, "ip", "", "address to listen on, ports 2379 and 2380")
	etcd.Flags().StringVar(&m.data, "data", "", "data directory")
	etcd.Flags().StringVar(&m.cluster, "cluster", "", "all members: name=peer-url,…")
	etcd.Flags().StringVar(&m.tls, "tls", "", "directory with certificates; empty: plain text")

	var address, dir, variant string
	resource := &cobra.Command{
		Use: "ledger", Short: "Be a protected resource", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.ServeLedger(cmd.Context(), address, dir, variant)
		},
	}
	resource.Flags().StringVar(&address, "listen", "127.0.0.1:8080", "address to listen on")
	resource.Flags().StringVar(&dir, "data", ".", "data directory")
	resource.Flags().StringVar(&variant, "variant", "ordered", "what it does with tokens: ordered, idempotent, none, equality")

	var p lab.PostgresServer
	postgres := &cobra.Command{
		Use: "postgres", Short: "Be a PostgreSQL server", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.Serve(cmd.Context()) },
	}
	postgres.Flags().StringVar(&p.Program, "program", "", "path of postgres")
	postgres.Flags().StringVar(&p.IP, "ip", "", "address to listen on, port 5432")
	postgres.Flags().StringVar(&p.Data, "data", "", "data directory")

	var n lab.NATSServer
	nats := &cobra.Command{
		Use: "nats", Short: "Be a server of a NATS cluster with JetStream", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return n.Serve(cmd.Context()) },
	}
	nats.Flags().StringVar(&n.Name, "name", "", "name of the server")
	nats.Flags().StringVar(&n.IP, "ip", "", "address to listen on, ports 4222 and 6222")
	nats.Flags().StringVar(&n.Data, "data", "", "data directory")
	nats.Flags().StringVar(&n.Peers, "peers", "", "addresses of all servers: address,…")
	nats.Flags().DurationVar(&n.TTL, "bucket-ttl", 0, "make the bucket of locks, with this TTL")

	cmd.AddCommand(etcd, nats, postgres, resource)
	return cmd
}
