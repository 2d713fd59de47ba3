package lab

import (
	"fmt"
	"path/filepath"
	"strings"
)

// inside is where the lab's tmpfs is mounted, seen only by the lab's own
// processes: every Linux system has the directory, nothing of a user's lives
// there, and an unprivileged user cannot make one of its own below /run.
const inside = "/dev/shm"

// Directories on the lab's tmpfs.
const (
	dataDir  = inside + "/locklab/data"
	stateDir = inside + "/locklab/state"
	tlsDir   = inside + "/locklab/tls"
)

// server is one process that a lab consists of.
type server struct {
	// name is its node's, unless it is the second one there.
	name string
	node Node
	kind string
	argv []string
	// files are what it is configured by: their contents, by path.
	files map[string]string
	// late: it is started once all before it do their work.
	late bool
}

// Kinds of server.
const (
	kindEtcd     = "etcd"
	kindRedis    = "redis"
	kindSentinel = "sentinel"
	kindPostgres = "postgres"
	kindNATS     = "nats"
	kindLedger   = "ledger"
	kindApp      = "app"

	kindZooKeeper = "zookeeper"
)

// servers lists what runs in the lab, in the order in which it is started; locklab and
// program are paths.
func (l Lab) servers(locklab, program string) []server {
	var list []server
	for _, n := range l.withRole(RoleLock) {
		list = append(list, l.lockServer(n, locklab, program))
	}
	if l.Sentinel {
		list = append(list, l.sentinels(program)...)
	}
	for _, n := range l.withRole(RoleResource) {
		if l.database() {
			program, _ := Postgres.Program() // findApp has seen to it
			list = append(list, postgres(n, locklab, program))
			continue
		}
		list = append(list, server{name: n.Name, node: n, kind: kindLedger, argv: []string{
			locklab, "serve", "ledger", "--listen", n.IP + ":8080",
			"--data", filepath.Join(dataDir, n.Name), "--variant", string(l.Ledger),
		}})
	}
	return append(list, l.apps(locklab)...)
}

func postgres(n Node, locklab, program string) server {
	return server{name: n.Name, node: n, kind: kindPostgres, argv: []string{
		locklab, "serve", "postgres", "--program", program, "--ip", n.IP, "--data", filepath.Join(dataDir, n.Name),
	}}
}

// lockServer is the lock service's part on a node.
func (l Lab) lockServer(n Node, locklab, program string) server {
	data := filepath.Join(dataDir, n.Name)
	switch {
	case l.Backend == Postgres:
		return postgres(n, locklab, program)
	case l.Backend == NATS:
		return l.natsServer(n, locklab, data)
	case l.Backend == ZooKeeper:
		return l.zookeeper(n, program)
	case l.Sentinel:
		return l.replicated(n, program)
	case l.Backend == Redis || l.Backend == Redlock:
		// The defaults of Debian's package, apart from systemd's part:
		// snapshots now and then, no append-only file, no password.
		argv := []string{
			program, "--port", fmt.Sprint(redisPort), "--protected-mode", "no", "--appendonly", "no", "--dir", data,
			"--bind", n.IP, "127.0.0.1",
		}
		if n.Virtual != "" {
			argv = append(argv, n.Virtual)
		}
		return server{name: n.Name, node: n, kind: kindRedis, argv: argv}
	}
	argv := []string{
		locklab, "serve", "etcd", "--name", n.Name, "--ip", n.IP,
		"--data", data, "--cluster", l.cluster(),
	}
	if l.TLS {
		argv = append(argv, "--tls", tlsDir)
	}
	return server{name: n.Name, node: n, kind: kindEtcd, argv: argv}
}

// natsServer is a member of the cluster; the first one makes the bucket of locks.
func (l Lab) natsServer(n Node, locklab, data string) server {
	var peers []string
	nodes := l.withRole(RoleLock)
	for _, p := range nodes {
		peers = append(peers, p.IP)
	}
	argv := []string{locklab, "serve", "nats", "--name", n.Name, "--ip", n.IP, "--data", data, "--peers", strings.Join(peers, ",")}
	if n.Name == nodes[0].Name {
		argv = append(argv, "--bucket-ttl", l.ttl())
	}
	return server{name: n.Name, node: n, kind: kindNATS, argv: argv}
}

// cluster names all etcd members, as --initial-cluster does.
func (l Lab) cluster() string {
	scheme := "http"
	if l.TLS {
		scheme = "https"
	}
	var members []string
	for _, n := range l.withRole(RoleLock) {
		members = append(members, fmt.Sprintf("%s=%s://%s:2380", n.Name, scheme, n.IP))
	}
	return strings.Join(members, ",")
}

// ledgerURL is the resource's address with the place of the row in it.
func (l Lab) ledgerURL() string {
	return "http://" + l.withRole(RoleResource)[0].IP + ":8080/entries/{row}"
}
