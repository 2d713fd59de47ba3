package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/locks"
)

// holderPeer finds where the session that has the lock comes from. A user who may not
// see other users' sessions sees NULL there, and one on a unix socket has no port.
const holderPeer = `
SELECT host(a.client_addr), coalesce(a.client_port, 0)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended($1, 0)`

// Peers implements locks.Witness: a session is a connection.
func (c *sessions) Peers(ctx context.Context, key string) (peers []string, recent bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := c.take(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("find the connection of %s: %w", key, err)
	}
	var host *string
	var port int
	err = conn.QueryRow(ctx, holderPeer, key).Scan(&host, &port)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		c.give(conn)
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("find the connection of %s: %w", key, errors.Join(definite(err), hangUp(conn)))
	}
	c.give(conn)
	peers, err = peer(key, host, port)
	return peers, false, err
}

func peer(key string, host *string, port int) ([]string, error) {
	switch {
	case host == nil && port == 0:
		return nil, fmt.Errorf("find the connection of %s: the server does not show it to this user: %w", key,
			&locks.Denied{Needs: "pg_read_all_stats", Err: errHidden})
	case host == nil || port <= 0:
		return nil, fmt.Errorf("find the connection of %s: it is a unix socket, which has no address: %w", key, locks.ErrRefused)
	}
	return []string{net.JoinHostPort(*host, strconv.Itoa(port))}, nil
}

var errHidden = errors.New("client_addr is NULL")
