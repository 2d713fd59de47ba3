package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Redis in a lab. A Sentinel watches the master under this name; two of three have to
// agree that it is down.
const (
	redisPort    = 6379
	sentinelPort = 26379
	masterName   = "mymaster"
	quorum       = 2
)

// replicated is one Redis of several, with Debian's defaults: the first node's is the
// master in the beginning. Who replicates from whom later is in the files, which the
// Sentinels have the servers rewrite, so that one that was killed starts as what it was.
func (l Lab) replicated(n Node, program string) server {
	all := l.withRole(RoleLock)
	first, data := all[0], filepath.Join(dataDir, n.Name)
	file := filepath.Join(data, "redis.conf") // which it rewrites itself
	s := server{name: n.Name, node: n, kind: kindRedis, argv: []string{program, file}}
	config := fmt.Sprintf("port %d\nbind %s 127.0.0.1\nprotected-mode no\nappendonly no\ndir %s\n", redisPort, n.IP, data) +
		"repl-diskless-sync-delay 0\n" // nobody else comes whom a replica could wait for
	if n.Name != first.Name {
		s.late = n.Name == all[1].Name // the master first
		config += fmt.Sprintf("replicaof %s %d\n", first.IP, redisPort)
	}
	s.files = map[string]string{file: config}
	return s
}

// sentinels are one on each node of the lock service. They find each other, and the
// replicas, by way of the master. A second without an answer is enough for them here:
// the usual half minute would be longer than any lease of a lab.
func (l Lab) sentinels(program string) []server {
	var list []server
	for i, n := range l.withRole(RoleLock) {
		config := filepath.Join(dataDir, n.Name, "sentinel.conf")
		list = append(list, server{
			name: n.Name + "-sentinel", node: n, kind: kindSentinel, late: i == 0,
			argv: []string{program, config, "--sentinel"},
			files: map[string]string{config: fmt.Sprintf("port %d\nbind %s 127.0.0.1\nprotected-mode no\ndir %s\n", sentinelPort, n.IP, filepath.Dir(config)) +
				fmt.Sprintf("sentinel monitor %s %s %d %d\n", masterName, l.withRole(RoleLock)[0].IP, redisPort, quorum) +
				fmt.Sprintf("sentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000\n", masterName)},
		})
	}
	return list
}

// writeConfigs makes the configuration files that servers are started with.
func writeConfigs(list []server) error {
	for _, s := range list {
		for path, content := range s.files {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				return fmt.Errorf("write configuration of %s: %w", s.name, err)
			}
		}
	}
	return nil
}

// replicating reads INFO replication: a replica does its work once it has the master's
// data.
func replicating(info []string) error {
	text := strings.Join(info, "\n")
	if strings.Contains(text, "role:master") || strings.Contains(text, "master_link_status:up") {
		return nil
	}
	return fmt.Errorf("it does not replicate: %s", strings.Join(strings.Fields(text), " "))
}

// watching reads SENTINEL MASTER: it knows all servers and all others of its kind.
func (l Lab) watching(fields []string) error {
	known := map[string]string{}
	for i := 0; i+1 < len(fields); i += 2 {
		known[fields[i]] = fields[i+1]
	}
	others := fmt.Sprint(l.Servers - 1)
	if known["flags"] != "master" || known["num-slaves"] != others || known["num-other-sentinels"] != others {
		return fmt.Errorf("it knows %s replicas and %s other Sentinels, the master is %q", known["num-slaves"], known["num-other-sentinels"], known["flags"])
	}
	return nil
}
