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

// server is one process that a lab consists of, named after its node.
type server struct {
	node Node
	argv []string
}

// servers lists what runs in the lab; locklab and program are paths.
func (l Lab) servers(locklab, program string) []server {
	var list []server
	for _, n := range l.withRole(RoleLock) {
		data := filepath.Join(dataDir, n.Name)
		if l.Backend == Postgres {
			list = append(list, server{n, []string{
				locklab, "serve", "postgres", "--program", program, "--ip", n.IP, "--data", data,
			}})
			continue
		}
		if l.Backend == Redis {
			// The defaults of Debian's package, apart from systemd's part:
			// snapshots now and then, no append-only file, no password.
			argv := []string{
				program, "--port", "6379", "--protected-mode", "no", "--appendonly", "no", "--dir", data,
				"--bind", n.IP, "127.0.0.1",
			}
			if n.Virtual != "" {
				argv = append(argv, n.Virtual)
			}
			list = append(list, server{n, argv})
			continue
		}
		argv := []string{
			locklab, "serve", "etcd", "--name", n.Name, "--ip", n.IP,
			"--data", data, "--cluster", l.cluster(),
		}
		if l.TLS {
			argv = append(argv, "--tls", tlsDir)
		}
		list = append(list, server{n, argv})
	}
	for _, n := range l.withRole(RoleResource) {
		list = append(list, server{n, []string{
			locklab, "serve", "ledger", "--listen", n.IP + ":8080",
			"--data", filepath.Join(dataDir, n.Name), "--variant", string(l.Ledger),
		}})
	}
	return list
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
