package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lockaudit/lockaudit/lab/ledger"
)

// Application is one of examples/: a program that knows nothing of lockaudit, and runs on
// each client node of its labs as it would anywhere.
type Application string

// The applications.
const (
	Job       Application = "job"
	Inventory Application = "inventory"
	Migrate   Application = "migrate"
)

// Applications lists the labs in which an application of examples/ takes the lock.
func Applications() []Lab {
	return []Lab{
		{
			Name: "example-job", Backend: Redis, Servers: 1, App: Job, Letter: "F", Exit: 1,
			Teaches: "a scheduled job in Go, redsync on 1 Redis, invoices in PostgreSQL: a paused run writes over the next one's",
		},
		{
			Name: "example-job-fenced", Backend: Redis, Servers: 1, App: Job, Fence: true, Letter: "D", Exit: 1,
			Teaches: "the same, and PostgreSQL refuses outdated tokens: what is left is a single Redis",
		},
		{
			Name: "example-inventory", Backend: Redis, Servers: 1, App: Inventory, Ledger: ledger.None, Letter: "F", Exit: 1,
			Teaches: "an inventory service in Node, redlock on 1 Redis, stock in an HTTP ledger: sold pieces come back",
		},
		{
			Name: "example-migrate", Backend: Etcd, Servers: 3, App: Migrate, Fence: true, Letter: "B", Exit: 0,
			Teaches: "a migration runner on 3 etcd, and PostgreSQL refuses the scripts of an outdated holder",
		},
	}
}

// appPort is where the applications tell of themselves.
const appPort = 9464

// appLog is where an application on a node logs: the lab's processes alone see it.
func appLog(node string) string { return inside + "/" + node + ".log" }

// database: the application keeps its data in PostgreSQL instead of the ledger.
func (l Lab) database() bool { return l.App == Job || l.App == Migrate }

// key of the application's lock.
func (l Lab) key() string {
	switch l.App {
	case Inventory:
		return "inventory:widget"
	case Migrate:
		return "/locks/migrate"
	}
	return Key
}

// appLines say how the holder is found, and where its writes show. The application itself
// is not touched, and knows nothing of it.
func (l Lab) appLines(line func(string, ...any)) {
	owner := `owner: '^(?P<node>[^/]+)/'`
	accepted, refused := `(run started|script applied).*token=(?P<token>\d+)`, `script refused.*token=(?P<token>\d+)`
	switch l.App {
	case Job:
		owner = `owner: '^(?P<node>[^/]+)/\d+/(?P<token>\d+)$'`
		accepted, refused = `(run started|invoice written).*token=(?P<token>\d+)`, `invoice refused.*token=(?P<token>\d+)`
	case Inventory:
		owner = "connection: true   # redlock's values are random: whose connection asked Redis last?"
		accepted, refused = "msg=\"order (reserved|picked|packed|labelled|shipped)\"", ""
	}
	line("clients:")
	line("  observe:               # the application as it runs, unchanged")
	line("    %s", owner)
	line("    process: {port: %d}", appPort)
	line("    effects:")
	line("      log: %s", appLog("{node}"))
	line("      accepted: '%s'", accepted)
	if refused != "" {
		line("      refused: '%s'", refused)
	}
	line("signals: {metrics: [http://%s:%d/metrics]}", l.withRole(RoleClient)[1].IP, appPort)
}

// appFolder is where `make examples` puts an application: beside locklab.
func (l Lab) appFolder(locklab string) string {
	return filepath.Join(filepath.Dir(locklab), "examples", string(l.App))
}

// findApp returns an error if something is missing that the application needs.
func (l Lab) findApp(locklab string) error {
	if l.database() {
		if _, err := Postgres.Program(); err != nil {
			return err
		}
	}
	if l.App == Inventory {
		if _, err := exec.LookPath("node"); err != nil {
			return Hint(fmt.Errorf("find node: %w", ErrMissing), "apt install nodejs npm")
		}
	}
	if _, err := os.Stat(l.appFolder(locklab)); errors.Is(err, fs.ErrNotExist) {
		return Hint(fmt.Errorf("find %s: %w", l.appFolder(locklab), ErrMissing), "make examples builds the applications of examples/")
	} else if err != nil {
		return fmt.Errorf("find application: %w", err)
	}
	return nil
}

// apps are the application's instances, one on each client node. They are started when
// everything that they need is there.
func (l Lab) apps(locklab string) []server {
	if l.App == "" {
		return nil
	}
	folder, resource := l.appFolder(locklab), l.withRole(RoleResource)[0]
	dsn := fmt.Sprintf("postgres://%s:%s@%s:%d/%s", postgresUser, postgresPassword, resource.IP, postgresPort, postgresUser)
	var list []server
	for i, n := range l.withRole(RoleClient) {
		argv := []string{"--instance", n.Name, "--log-file", appLog(n.Name)}
		listen := fmt.Sprintf("%s:%d", n.IP, appPort)
		switch l.App {
		case Job:
			argv = append([]string{filepath.Join(folder, "billing"), "--redis", l.Endpoints()[0], "--postgres", dsn, "--listen", listen}, argv...)
		case Migrate:
			argv = append([]string{
				filepath.Join(folder, "migrate"), "--etcd", strings.Join(l.Endpoints(), ","), "--postgres", dsn, "--listen", listen,
				"--dir", filepath.Join(folder, "sql"), "--every", "500ms", "--work", "250ms", "--ttl", "2s",
			}, argv...)
		case Inventory:
			argv = append([]string{
				"node", filepath.Join(folder, "server.js"), "--redis", l.Endpoints()[0], "--listen", fmt.Sprint(appPort),
				"--ledger", "http://" + resource.IP + ":8080/entries", "--demo-orders", "300", "--work", "2500", "--retry", "6000",
			}, argv...)
		}
		if l.Fence {
			argv = append(argv, "--fence")
		}
		list = append(list, server{name: n.Name, node: n, kind: kindApp, argv: argv, late: i == 0})
	}
	return list
}
