package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// access finds out whether the service asks who somebody is: for a certificate when they
// connect, or at the nodes of the lock, whose access list decides otherwise.
func access(ctx context.Context, d *dialer, t locks.Target, found *facts.Deployment) {
	asks := false
	if d.tls != nil {
		wants, err := wantsCertificate(ctx, d, t)
		if err != nil {
			found.Unknown = append(found.Unknown, fmt.Sprintf("client certificate: %v", err))
			return
		}
		note(found, "client certificate required", strconv.FormatBool(wants))
		asks = wants
	}
	open, dir, err := openToAll(ctx, d, t.Key)
	if err != nil {
		found.Unknown = append(found.Unknown, fmt.Sprintf("access list: %v", err))
		if asks {
			found.Auth = yes(true)
		}
		return
	}
	note(found, "anybody may make and delete nodes in "+dir, strconv.FormatBool(open))
	found.Auth = yes(asks || !open)
}

// wantsCertificate asks without showing one. A server that insists on it ends the
// connection with a TLS alert.
func wantsCertificate(ctx context.Context, d *dialer, t locks.Target) (bool, error) {
	without := *t.TLS
	without.CertFile, without.KeyFile = "", ""
	config, err := without.Config()
	if err != nil {
		return false, err
	}
	err = errNotListed
	for _, server := range d.servers {
		if _, err = word(ctx, server, "srvr", config); err == nil || errors.Is(err, errNotListed) || errors.Is(err, errNotServing) {
			return false, nil
		}
		// crypto/tls reports an alert from the other side under this name.
		var remote *net.OpError
		if errors.As(err, &remote) && remote.Op == "remote error" {
			return true, nil
		}
	}
	return false, err
}

// openToAll looks at the access list of the lock's directory, or of the nearest one above
// it: whether anybody may make nodes there, or delete those of others.
func openToAll(ctx context.Context, d *dialer, key string) (open bool, dir string, err error) {
	s, err := d.open(ctx, idleTimeout)
	if err != nil {
		return false, "", err
	}
	defer s.close()
	for dir = directory(key); ; dir = path.Dir(dir) {
		acl, err := insist(ctx, s, func(c *zk.Conn) ([]zk.ACL, error) {
			acl, _, err := c.GetACL(dir)
			return acl, err
		})
		switch {
		case errors.Is(err, zk.ErrNoAuth):
			return false, dir, nil // not even its list may be read
		case errors.Is(err, zk.ErrNoNode):
			continue
		case err != nil:
			return false, dir, err
		}
		for _, a := range acl {
			if a.Scheme == "world" && a.Perms&(zk.PermCreate|zk.PermDelete) != 0 {
				return true, dir, nil
			}
		}
		return false, dir, nil
	}
}

// properties of a server's Java machine that decide whether a lock is kept, and for whom.
var properties = []string{"zookeeper.forceSync", "zookeeper.skipACL", "zookeeper.fsync.warningthresholdms", "fsync.warningthresholdms", "zookeeper.extendedTypesEnabled", "zookeeper.DigestAuthenticationProvider.superDigest"}

// started asks the admin server what its server was started with: nothing else tells.
func started(ctx context.Context, d *dialer, o options, found *facts.Deployment) {
	if o.AdminPort == 0 {
		found.Unknown = append(found.Unknown, "forceSync, skipACL and fsync.warningthresholdms: only the servers' admin server tells (options: admin_port)")
		return
	}
	safe := true
	for _, server := range d.servers {
		set, err := startedAt(ctx, server, o.AdminPort)
		if err != nil {
			found.Unknown = append(found.Unknown, unknownAt("system_properties", server, err))
			safe = false
			continue
		}
		for _, name := range properties {
			if value, ok := set[name]; ok {
				if strings.HasSuffix(name, "superDigest") {
					value = "set: whoever knows it is bound by no access list"
				}
				note(found, name+" at "+server, value)
			}
		}
		// A transaction is on the disk of a majority before it is answered, unless:
		if set["zookeeper.forceSync"] == "no" {
			found.Durable = yes(false)
		}
	}
	if safe && found.Durable == nil {
		found.Durable = yes(true)
	}
}

func startedAt(ctx context.Context, server string, port int) (map[string]string, error) {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wordLimit)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/commands/system_properties"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	var all map[string]any
	if err := json.NewDecoder(io.LimitReader(answer.Body, mostSaid)).Decode(&all); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	set := map[string]string{}
	for name, value := range all {
		if text, ok := value.(string); ok {
			set[name] = text
		}
	}
	return set, nil
}
