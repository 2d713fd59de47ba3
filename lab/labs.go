// Package lab raises practice deployments on one Linux machine: real servers in
// network namespaces on a bridge, with a known right verdict each.
//
// A lab belongs to its keeper, a process that is pid 1 of a PID namespace of its
// own, in a mount and a network namespace of its own. All servers are below it,
// every link and namespace of the lab is inside its namespaces, and all data is
// on its private tmpfs. When the keeper dies, however it dies, the kernel kills
// the rest and frees the rest: there is nothing to clean up by hand, as root and
// as an unprivileged user alike.
package lab

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/lab/ledger"
)

// Errors that callers decide on.
var (
	ErrUnknown = errors.New("unknown name")
	ErrNotUp   = errors.New("lab is not up")
	ErrMissing = errors.New("program is not installed")
)

// Backend is the lock service of a lab.
type Backend string

// The backends.
const (
	Etcd  Backend = "etcd"
	Redis Backend = "redis"

	Postgres Backend = "postgres"
	NATS     Backend = "nats"

	// Redlock is a majority of Redis servers that know nothing of each other.
	Redlock Backend = "redlock"

	ZooKeeper Backend = "zookeeper"
)

// Kinds of lock in PostgreSQL.
const (
	advisoryLock = "advisory"
	leaseTable   = "lease"
)

// Lab is one practice deployment.
type Lab struct {
	Name string
	// Teaches says in one line what the lab shows.
	Teaches string
	Backend Backend
	// Servers is the number of lock servers.
	Servers int
	// TLS with client certificates on the lock service, or plain text.
	TLS    bool
	Ledger ledger.Variant
	// Lock is the kind of lock where the backend has several.
	Lock string
	// TTL of the lock, if it is not the usual one.
	TTL string
	// Sentinel: one of the servers is the master, the others replicate from it, and
	// beside each runs a Sentinel, which clients ask for the master.
	Sentinel bool
	// Split: the servers know nothing of each other and all answer to one virtual
	// address, each to one of the clients.
	Split bool
	// Signals: the plan names the lock clients' metrics and log. They tell of failed
	// acquires there unless they are Silent, and then only of what succeeds.
	Signals, Silent bool
	// LocalExpiry: a client ends its hold by its own clock when it could not renew.
	// IgnoreLoss: it never looks whether it still holds.
	LocalExpiry, IgnoreLoss bool
	// Seed of the plan, which draws shapes of a partition besides the named ones.
	Seed uint64
	// Extra: not part of the demo unless it is named; the calibration has it all the same.
	Extra bool
	// App is the application that takes the lock; empty: the audit's own clients alone.
	// Fence: it sends its token along, and its database refuses an outdated one.
	App   Application
	Fence bool
	// Letter is the right grade, Exit the right exit status of the audit.
	Letter string
	Exit   int
}

// All lists the labs in the order in which they are shown.
func All() []Lab {
	return []Lab{
		{
			Name: "etcd-fenced", Backend: Etcd, Servers: 3, TLS: true, LocalExpiry: true, Ledger: ledger.Idempotent, Letter: "A", Exit: 0,
			Teaches: "3 etcd, ordered fencing: the stale write of a paused holder is refused",
		},
		{
			Name: "etcd-unfenced", Backend: Etcd, Servers: 3, IgnoreLoss: true, Ledger: ledger.None, Letter: "F", Exit: 1,
			Teaches: "3 etcd, nobody looks at the token: consensus alone does not stop a paused holder",
		},
		{
			Name: "etcd-equality", Backend: Etcd, Servers: 3, IgnoreLoss: true, Ledger: ledger.Equality, Letter: "F", Exit: 1,
			Teaches: "3 etcd, tokens compared for equality: looks like fencing, lets the stale holder in",
		},
		{
			Name: "redis-single", Backend: Redis, Servers: 1, Ledger: ledger.None, Letter: "F", Exit: 1,
			Teaches: "1 Redis with its defaults: no token to fence with, and a restart forgets the lock",
		},
		{
			Name: "split-store", Backend: Redis, Servers: 2, Ledger: ledger.None, Split: true, Seed: 7, Letter: "F", Exit: 1,
			Teaches: "2 Redis behind one virtual address, both in charge: the hourly job runs twice",
		},
		{
			Name: "etcd-signals", Backend: Etcd, Servers: 3, TLS: true, LocalExpiry: true, Ledger: ledger.Idempotent, Signals: true, Letter: "A", Exit: 0,
			Teaches: "3 etcd, ordered fencing, and clients that tell of every acquire that failed",
		},
		{
			Name: "etcd-silent", Backend: Etcd, Servers: 3, TLS: true, LocalExpiry: true, Ledger: ledger.Idempotent, Signals: true, Silent: true, Letter: "C", Exit: 1,
			Teaches: "the same with metrics and a log that know only success: a refused acquire moves nothing",
		},
		{
			Name: "etcd-5", Backend: Etcd, Servers: 5, TLS: true, LocalExpiry: true, Ledger: ledger.Idempotent, Seed: 7, Letter: "A", Exit: 0,
			Teaches: "5 etcd, parted in every shape, also the ring in which each server sees another majority, and at random",
		},
		{
			Name: "postgres-lease", Backend: Postgres, Lock: leaseTable, Servers: 1, Extra: true, Ledger: ledger.Idempotent, Letter: "F", Exit: 1,
			Teaches: "1 PostgreSQL, a lease table with a sequence token, fenced: a step of its clock still grants twice",
		},
		{
			Name: "postgres-advisory", Backend: Postgres, Lock: advisoryLock, Servers: 1, Extra: true, Ledger: ledger.None, Letter: "F", Exit: 1,
			Teaches: "1 PostgreSQL with its defaults, session advisory lock: no token, and a silent holder blocks for two hours",
		},
		{
			// A failover takes seconds, and whether it forgets a lock shows within the lease.
			Name: "redis-sentinel", Backend: Redis, Sentinel: true, Servers: 3, TTL: "20s", Extra: true, Ledger: ledger.Idempotent, Letter: "F", Exit: 1,
			Teaches: "1 Redis, 2 replicas, 3 Sentinels, fenced by a counter in the same Redis: a partition grants twice, with one number",
		},
		{
			Name: "nats-3", Backend: NATS, Servers: 3, Extra: true, Ledger: ledger.Idempotent, Letter: "C", Exit: 1,
			Teaches: "3 NATS, a bucket of 3 copies, fenced: its leases run on wall clocks, and set back they do not end",
		},
		{
			Name: "redlock-5", Backend: Redlock, Servers: 5, Extra: true, Ledger: ledger.None, Letter: "F", Exit: 1,
			Teaches: "5 independent Redis with their defaults, a majority grants: one of them restarted grants twice, and there is no token to fence with",
		},
		{
			// A session must outlast the time for which a follower that is cut off serves.
			Name: "zookeeper-3", Backend: ZooKeeper, Servers: 3, TLS: true, TTL: "3s", LocalExpiry: true, Extra: true, Ledger: ledger.Idempotent, Letter: "A", Exit: 0,
			Teaches: "3 ZooKeeper, the lock recipe, fenced by czxid: the stale write of a paused holder is refused",
		},
	}
}

// Everything is All and those of the applications.
func Everything() []Lab { return append(All(), Applications()...) }

// Names of all labs in All.
func Names() []string { return names(All()) }

func names(labs []Lab) []string {
	var list []string
	for _, l := range labs {
		list = append(list, l.Name)
	}
	return list
}

// Find returns a lab by name, or ErrUnknown.
func Find(name string) (Lab, error) {
	for _, l := range Everything() {
		if l.Name == name {
			return l, nil
		}
	}
	return Lab{}, Hint(fmt.Errorf("find lab %q: %w", name, ErrUnknown), "labs: "+strings.Join(names(Everything()), ", "))
}

// Role says what lives on a node.
type Role string

// The roles.
const (
	RoleLock     Role = "lock"
	RoleResource Role = "resource"
	RoleClient   Role = "client"
)

// Node is one network namespace of a lab.
type Node struct {
	Name string
	Role Role
	IP   string
	// Virtual is an address that the node has besides, and shares with others.
	Virtual string
	// Route leads to the virtual address, by way of this one.
	Route string
}

// virtualIP is the lock service's address in a lab that is split.
const virtualIP = "10.77.0.10"

// Nodes of the lab: clients, lock servers, the ledger.
func (l Lab) Nodes() []Node {
	nodes := []Node{
		{Name: "app-a", Role: RoleClient, IP: "10.77.0.31"},
		{Name: "app-b", Role: RoleClient, IP: "10.77.0.32"},
	}
	for i := range l.Servers {
		n := Node{Name: fmt.Sprintf("lock-%d", i+1), Role: RoleLock, IP: fmt.Sprintf("10.77.0.%d", 11+i)}
		if l.Split {
			n.Virtual = virtualIP
			nodes[i].Route = n.IP // one client for each
		}
		nodes = append(nodes, n)
	}
	return append(nodes, Node{Name: "ledger", Role: RoleResource, IP: "10.77.0.21"})
}

// withRole returns the lab's nodes of one role.
func (l Lab) withRole(role Role) []Node {
	var nodes []Node
	for _, n := range l.Nodes() {
		if n.Role == role {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Endpoints of the lock service, as clients name them.
func (l Lab) Endpoints() []string {
	if l.Split {
		return []string{l.endpoint(Node{IP: virtualIP})}
	}
	var endpoints []string
	for _, n := range l.withRole(RoleLock) {
		endpoints = append(endpoints, l.endpoint(n))
	}
	return endpoints
}

// port of the lock servers.
func (l Lab) port() int {
	switch l.Backend {
	case Redis, Redlock:
		return redisPort
	case Postgres:
		return postgresPort
	case NATS:
		return natsPort
	case ZooKeeper:
		return zookeeperPort
	}
	return 2379
}

func (l Lab) endpoint(n Node) string {
	switch {
	case l.Sentinel:
		return fmt.Sprintf("%s:%d", n.IP, sentinelPort)
	case l.Backend != Etcd:
		return fmt.Sprintf("%s:%d", n.IP, l.port())
	case l.TLS:
		return "https://" + n.IP + ":2379"
	}
	return "http://" + n.IP + ":2379"
}
