package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// command is an alternative: Debian's own tools, in the cable's namespace. Each drops
// what arrives from the peers, and that only.
type command struct {
	name        string
	add, remove func(h host, peers []string) error
	// most is how many peers are really added; more are extrapolated from them.
	most, samples int
}

func commands() []command {
	flush := func(h host, _ []string) error { return h.run("", "iptables", "-F", "INPUT") }
	return []command{
		{"nft -f", func(h host, peers []string) error { return h.run(ruleset(peers), "nft", "-f", "-") },
			func(h host, _ []string) error { return h.run("", "nft", "delete", "table", "inet", "alternative") }, 1 << 20, 10},
		{"iptables-restore", func(h host, peers []string) error { return h.run(restore(peers), "iptables-restore", "--noflush") }, flush, 1 << 20, 5},
		{"iptables -A per peer", func(h host, peers []string) error {
			for _, p := range peers {
				if err := h.run("", "iptables", "-A", "INPUT", "-s", p, "-j", "DROP"); err != nil {
					return err
				}
			}
			return nil
		}, flush, 500, 3},
	}
}

// ruleset is what nft reads.
func ruleset(peers []string) string {
	return fmt.Sprintf(`table inet alternative {
	set peers { type ipv4_addr; elements = { %s } }
	chain in { type filter hook input priority raw; ip saddr @peers counter drop; }
}
`, strings.Join(peers, ", "))
}

// run runs a command in the namespace.
func (h host) run(stdin string, argv ...string) error {
	return h.in(func() error {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %.200s (make bench-deps installs it)", argv[0], err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// compare measures the commands for so many peers.
func (c *cable) compare(peers int) ([]row, error) {
	var rows []row
	for _, x := range commands() {
		really := min(peers, x.most)
		list := manyPeers(really, true)
		what := fmt.Sprintf("%d peers: alternative: %s, in only", peers, x.name)
		if really < peers {
			what += fmt.Sprintf(" (%d peers, times %d; it is slower the more there are)", really, peers/really)
		}
		var cut, back []float64
		for range x.samples {
			for i, act := range []func() error{func() error { return x.add(c.a, list) }, func() error { return x.remove(c.a, list) }} {
				s := newStream(c.cb, c.ca)
				ms, err := s.after(i == 1, act)
				if e := s.end(); err == nil {
					err = e
				}
				if err != nil {
					return nil, err
				}
				if i == 0 {
					cut = append(cut, ms*float64(peers)/float64(really))
				} else {
					back = append(back, ms)
				}
			}
			if really == x.most {
				break // seconds each
			}
		}
		rows = append(rows, row{what + ", first packet dropped", "", cut, "ms"}, row{what + ", revert", "", back, "ms"})
	}
	return rows, nil
}
