package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Peers implements locks.Witness. A key does not belong to a connection: these are the
// ones that the server heard from within the last second, which it counts in whole ones.
// The connection that has just taken or renewed a lock is among them.
func (c *client) Peers(ctx context.Context, key string) (peers []string, recent bool, err error) {
	list, err := Call(ctx, func() (string, error) { return c.rdb.ClientList(ctx).Result() })
	if err != nil {
		return nil, true, fmt.Errorf("list connections for %s: %w", key, err)
	}
	own, err := Call(ctx, func() (int64, error) { return c.rdb.ClientID(ctx).Result() })
	if err != nil {
		return nil, true, fmt.Errorf("list connections for %s: %w", key, err)
	}
	return activePeers(list, own), true, nil
}

// activePeers reads CLIENT LIST: a line of name=value words for each connection.
func activePeers(list string, own int64) []string {
	var out []string
	for line := range strings.Lines(list) {
		field := map[string]string{}
		for _, word := range strings.Fields(line) {
			name, value, _ := strings.Cut(word, "=")
			field[name] = value
		}
		idle, err := strconv.Atoi(field["idle"])
		if err != nil || idle > 1 || field["id"] == strconv.FormatInt(own, 10) || strings.ContainsAny(field["flags"], "SM") {
			continue // it said nothing lately, is this audit's own, or a replica
		}
		out = append(out, field["addr"])
	}
	return out
}
