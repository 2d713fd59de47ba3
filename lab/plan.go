package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/lab/ledger"
)

// TTL of the labs' locks: the smallest that etcd grants with its default timing.
const TTL = "2s"

// Key of the labs' locks.
const Key = "/locks/billing"

// Where the clients of a lab with signals tell of failed acquires: on the node on
// which the second of them lives.
const (
	metricsPort = ":9464"
	signalLog   = inside + "/billing.log"
)

// planText is the plan with which lockaudit audits the lab. via is the command
// that, with a node's name and "--" behind it, runs a program on that node; restart
// has the commands of servers that cannot be started again as they were.
func (l Lab) planText(via []string, restart map[string][]string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Practice lab %s, written by locklab up.", l.Name)
	line("# %s.", l.Teaches)
	line("name: %s", l.Name)
	line("lock:")
	line("  backend: %s", l.Backend)
	line("  endpoints: [%s]", quoted(l.Endpoints()))
	line("  key: %q", l.key())
	line("  ttl: %s", l.ttl())
	if l.Sentinel {
		line("  options: {sentinel: %s, fencing_counter: true}   # the endpoints are the Sentinels", masterName)
	}
	if l.Backend == Postgres {
		line("  username: %s", postgresUser)
		line("  password: %s        # of nothing but this lab", postgresPassword)
		line("  options: {lock: %s, database: %s, create: %t}", l.Lock, postgresUser, l.Lock == leaseTable)
	}
	if l.LocalExpiry {
		line("  options: {local_expiry: true}   # a client that cannot renew stops by its own clock")
	}
	if l.IgnoreLoss {
		line("  options: {ignore_loss: true}    # an application that never looks at Session.Done()")
	}
	line("  purpose: correctness   # a double grant would corrupt data, not only waste work")
	if l.TLS {
		line("  tls:                   # files on the nodes: only the lab's processes see them")
		line("    ca: %s", filepath.Join(tlsDir, caFile))
		line("    cert: %s", filepath.Join(tlsDir, clientCertFile))
		line("    key: %s", filepath.Join(tlsDir, clientKeyFile))
	}
	l.resourceLines(line)
	l.signalLines(line)
	line("measure_for: 3s")
	if l.Seed != 0 {
		line("seed: %d                  # draws two shapes more for partition-lock-servers", l.Seed)
	}
	if l.App == "" {
		line("safety: {allow: [server-clock]}   # nobody else's lock is here")
	} else {
		line("safety: {allow_harm: true}   # what a paused run writes late is let through: it is a lab")
	}
	line("nodes:                   # via: how lockaudit runs its agent there")
	for _, n := range l.Nodes() {
		command := append(append([]string{}, via...), n.Name, "--")
		if n.Role != RoleLock {
			line("  - {name: %s, roles: [%s], via: [%s]}", n.Name, n.Role, quoted(command))
			continue
		}
		line("  - name: %s", n.Name)
		line("    roles: [%s]", n.Role)
		line("    via: [%s]", quoted(command))
		line("    process: {port: %d}   # what may be killed", l.port())
		if argv := restart[n.Name]; argv != nil {
			line("    agent: [lockaudit-agent, --allow-commands]")
			line("    restart: [%s]   # %s", quoted(argv), l.whyRestart())
		}
	}
	list, why := l.probes()
	if len(list) == 0 {
		line("probes: all")
		return b.String()
	}
	line("probes:                  # %s", why)
	for _, p := range list {
		line("  - %s", p)
	}
	return b.String()
}

// ttl of the lab's lock.
func (l Lab) ttl() string {
	if l.TTL != "" {
		return l.TTL
	}
	return TTL
}

// whyRestart says why the plan has to name the command.
func (l Lab) whyRestart() string {
	if l.Backend == Postgres {
		return "it makes the user namespace in which postgres is not root"
	}
	return "redis-server writes over its command line"
}

// resourceLines say what the lock protects.
func (l Lab) resourceLines(line func(string, ...any)) {
	if l.database() {
		fencing := "none"
		if l.Fence {
			fencing = "ordered"
		}
		line("resource:                # the application's database, in a table of the audit's own")
		line("  kind: postgres")
		line("  endpoints: [\"%s:%d\"]", l.withRole(RoleResource)[0].IP, postgresPort)
		line("  username: %s", postgresUser)
		line("  password: %s        # of nothing but this lab", postgresPassword)
		line("  options: {fencing: %s, database: %s, table: canary, create: true}   # as the application writes", fencing, postgresUser)
		return
	}
	line("resource:                # ledger variant: %s", l.Ledger)
	line("  kind: http")
	line("  url: %q", l.ledgerURL())
	line("  token_header: X-Fencing-Token")
}

// signalLines name the clients, and where they tell of what happens to them.
func (l Lab) signalLines(line func(string, ...any)) {
	if l.App != "" {
		l.appLines(line)
		return
	}
	if !l.Signals {
		line("clients: {builtin: true}")
		return
	}
	about, tell := "as an application should", "all"
	if l.Silent {
		about, tell = "of its successes alone, as many applications do", "granted"
	}
	line("clients:                 # the built-in client, telling %s", about)
	line("  exec: [lockaudit, client, %s, --metrics-listen, %q, --log, %s, --tell, %s]", l.Backend, metricsPort, signalLog, tell)
	line("signals:")
	line("  metrics: http://%s%s/metrics", l.withRole(RoleClient)[1].IP, metricsPort)
	line("  log: {file: %s, node: %s}", signalLog, l.withRole(RoleClient)[1].Name)
}

// probes of the plan, and why not all of them: what another lab shows already is
// left out, so that all labs together stay short.
func (l Lab) probes() (list []string, why string) {
	switch {
	case l.App != "":
		return []string{"inspect-deployment", "measure-network", "measure-pauses", "measure-renewals", "pause-holder-past-ttl"},
			"what looks, and the five steps on the application's own processes"
	case l.Silent:
		return []string{"inspect-deployment", "contend"}, "about the signals alone; etcd-signals has the rest"
	case l.Signals:
		return []string{
			"inspect-deployment", "measure-network", "measure-pauses", "measure-acquire", "contend", "token-battery",
			"replay-operation", "crash-holder", "pause-holder-past-ttl", "lost-update", "partition-holder-past-ttl",
			"lose-node", "double-execution", "partition-lock-servers",
		}, "all but the deaths of lock servers, which do not depend on signals"
	case l.Backend == Redlock:
		return []string{
			"inspect-deployment", "measure-network", "measure-pauses", "contend", "token-battery", "replay-operation",
			"pause-holder-past-ttl", "partition-holder-past-ttl", loseReply, "double-execution", "clock-jump-lock-server",
			"restart-lock-server", "partition-lock-servers",
		}, "nobody leads, and redis-single shows the rest"
	case l.Servers > 3:
		return []string{"inspect-deployment", "partition-holder-past-ttl", "partition-lock-servers"}, "about the shapes of a partition; etcd-fenced has the rest"
	}
	switch {
	case l.Lock == leaseTable:
		return []string{
			"inspect-deployment", "measure-network", "measure-pauses", "contend", "token-battery", "replay-operation",
			"crash-holder", "pause-holder-past-ttl", "lost-update", "partition-holder-past-ttl", loseReply, "lose-node",
			"double-execution", "clock-jump-holder", "clock-jump-lock-server", "restart-lock-server",
		}, "all but some that redis-single shows"
	case l.Lock == advisoryLock:
		return []string{
			"inspect-deployment", "measure-network", "measure-pauses", "contend", "token-battery", "crash-holder",
			"pause-holder-past-ttl", "lose-node",
		}, "nothing that waits for the end of a lease, beyond those that show that there is none"
	case l.Backend == NATS:
		return []string{
			"inspect-deployment", "measure-network", "measure-pauses", "contend", "token-battery", "replay-operation",
			"crash-holder", "pause-holder-past-ttl", "lost-update", "partition-holder-past-ttl", "lose-node",
			"double-execution", "clock-jump-holder", "clock-jump-lock-server", "partition-lock-servers",
		}, "all but failovers, which take longer than the lease, and a lost reply: what it leaves is a matter of when the key was released"
	case l.Sentinel:
		return []string{
			"inspect-deployment", "measure-network", "measure-pauses", "contend", "token-battery", "replay-operation",
			"double-execution", "isolate-lock-leader", "crash-lock-primary", "restart-lock-server",
		}, "about failover and restart; redis-single has the rest"
	case l.Backend == ZooKeeper:
		return allBut(delayWrite, measureRenewals), "all but two that other labs show"
	case l.Split:
		return allBut(delayWrite, loseReply), "all but two that redis-single and etcd-unfenced show"
	case l.Backend == Redis:
		return allBut(delayWrite), "all but one that etcd-unfenced shows"
	case l.Ledger == ledger.Equality:
		return allBut(delayWrite, loseReply), "all but two that etcd-unfenced shows"
	}
	return nil, ""
}

// Probes that not every lab needs to show.
const (
	delayWrite      = "delay-write-in-flight"
	loseReply       = "lose-acquire-reply"
	measureRenewals = "measure-renewals"
)

// Probes lists every probe, in the order in which an audit runs them.
func Probes() []string {
	return []string{
		"inspect-deployment", "measure-network", "measure-pauses", measureRenewals, "measure-acquire", "contend",
		"token-battery", "replay-operation", "crash-holder", "pause-holder-past-ttl", "lost-update", "partition-holder-past-ttl",
		delayWrite, loseReply, "lose-node", "double-execution", "clock-jump-holder", "clock-jump-lock-server",
		"clock-drift", "isolate-lock-leader", "crash-lock-primary", "restart-lock-server", "partition-lock-servers",
	}
}

func allBut(some ...string) []string {
	return slices.DeleteFunc(Probes(), func(p string) bool { return slices.Contains(some, p) })
}

func quoted(words []string) string {
	var list []string
	for _, w := range words {
		list = append(list, fmt.Sprintf("%q", w))
	}
	return strings.Join(list, ", ")
}

// via is the command that runs programs on the lab's nodes. A base other than the
// user's usual one is named, so that the plan works in any environment.
func via(locklab string, p place) []string {
	command := []string{locklab, "exec"}
	if p.base != Base() {
		command = append(command, "--dir", p.base)
	}
	return append(command, filepath.Base(p.path))
}

// restarts are the commands that a plan must name.
func (l Lab) restarts(locklab, program string) map[string][]string {
	out := map[string][]string{}
	for _, s := range l.servers(locklab, program) {
		if s.kind != kindSentinel && s.node.Role == RoleLock && l.Backend != Etcd && l.Backend != NATS && l.Backend != ZooKeeper {
			out[s.node.Name] = s.argv
		}
	}
	return out
}

func (p place) writePlan(l Lab, locklab, program string) error {
	if err := os.WriteFile(p.plan(), []byte(l.planText(via(locklab, p), l.restarts(locklab, program))), 0o644); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}
