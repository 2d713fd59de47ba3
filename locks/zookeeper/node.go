package zookeeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-zookeeper/zk"
)

// node is one client's place in the queue of a lock. Its name begins with an id of its
// own, as Curator's "protected" nodes have it: where the reply to the create was lost,
// that tells whether it was carried out.
type node struct {
	dir  string // of the lock
	id   string
	path string // once it is known: the server appends the number
}

// directory of a key's nodes.
func directory(key string) string { return path.Clean("/" + key) }

func newNode(dir string) node { return node{dir: dir, id: "_c_" + strings.ToLower(rand.Text())} }

// create makes the node, and the directories above it where they are missing. A create
// whose reply was lost is looked for before it is sent again.
func (n *node) create(ctx context.Context, s *session) error {
	for {
		made, err := ask(ctx, s, func(c *zk.Conn) (string, error) {
			return c.Create(n.dir+"/"+n.id+"-lock-", nil, zk.FlagEphemeralSequential, s.acl)
		})
		switch {
		case err == nil:
			n.path = made
			return nil
		case errors.Is(err, zk.ErrNoNode):
			if err := makeDirectory(ctx, s, n.dir); err != nil {
				return fmt.Errorf("make directory %s: %w", n.dir, err)
			}
		case cutOff(err):
			if err := n.find(ctx, s); err != nil || n.path != "" {
				return err
			}
		default:
			return fmt.Errorf("create node: %w", err)
		}
	}
}

// makeDirectory makes the lock's directory as a container, which the servers remove when
// it is empty again, and whatever is missing above it.
func makeDirectory(ctx context.Context, s *session, dir string) error {
	for above := path.Dir(dir); above != "/"; above = path.Dir(above) {
		there, err := insist(ctx, s, func(c *zk.Conn) (bool, error) { ok, _, err := c.Exists(above); return ok, err })
		if err != nil {
			return err
		}
		if there {
			break
		}
		if err := makeDirectory(ctx, s, above); err != nil {
			return err
		}
	}
	_, err := insist(ctx, s, func(c *zk.Conn) (string, error) { return c.CreateContainer(dir, nil, zk.FlagContainer, s.acl) })
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

// find looks for the node at the service, as the leader has it now. Whatever was sent
// before on this session has been carried out by then, or never will be.
func (n *node) find(ctx context.Context, s *session) error {
	names, err := children(ctx, s, n.dir)
	if err != nil {
		return fmt.Errorf("look for own node: %w", err)
	}
	if i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, n.id) }); i >= 0 {
		n.path = n.dir + "/" + names[i]
	}
	return nil
}

// children of a directory, as the leader has it now; none if there is no such directory.
func children(ctx context.Context, s *session, dir string) ([]string, error) {
	return insist(ctx, s, func(c *zk.Conn) ([]string, error) {
		if _, err := c.Sync(dir); err != nil && !errors.Is(err, zk.ErrNoNode) {
			return nil, err
		}
		names, _, err := c.Children(dir)
		if errors.Is(err, zk.ErrNoNode) {
			return nil, nil
		}
		return names, err
	})
}

// remove makes sure that nothing is left of the node.
func (n *node) remove(ctx context.Context, s *session) error {
	if n.path == "" {
		if err := n.find(ctx, s); err != nil && !errors.Is(err, errExpired) {
			return err
		}
	}
	if n.path == "" {
		return nil
	}
	err := removePath(ctx, s, n.path)
	if errors.Is(err, errExpired) {
		return nil // the node has gone with the session
	}
	return err
}

func removePath(ctx context.Context, s *session, path string) error {
	_, err := insist(ctx, s, func(c *zk.Conn) (any, error) { return nil, c.Delete(path, -1) })
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	return err
}

// sequence is the number at the end of a node's name, which orders the queue. Names of
// other clients (kazoo's, Curator's) begin in other ways and end in the same.
func sequence(name string) (int64, bool) {
	const digits = 10
	if len(name) < digits {
		return 0, false
	}
	n, err := strconv.ParseInt(name[len(name)-digits:], 10, 64)
	return n, err == nil && n >= 0
}

// queue is the names that wait for the lock, the holder's first.
func queue(names []string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := sequence(name); return !ok })
	slices.SortFunc(names, func(a, b string) int {
		x, _ := sequence(a)
		y, _ := sequence(b)
		return int(x - y)
	})
	return names
}
