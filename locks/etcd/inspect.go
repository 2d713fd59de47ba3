package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// Inspect implements locks.Driver. It only reads.
func (Driver) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	if _, err := optionsOf(t); err != nil {
		return facts.Deployment{}, err
	}
	etcd, err := connect(ctx, t)
	if err != nil {
		return facts.Deployment{}, err
	}
	defer etcd.Close()
	d := facts.Deployment{
		Backend:   "etcd",
		Consensus: "raft",
		// A write is in the log of a majority, synced, before it is answered; only
		// --unsafe-no-fsync changes that, and it cannot be read from outside.
		Durable:       yes(true),
		Evicts:        yes(false),
		WallClock:     yes(false), // leases run on the leader's monotonic clock
		OrderedTokens: yes(true),
		TLS:           yes(strings.HasPrefix(etcd.Endpoints()[0], "https://")), // all alike, see configure
	}
	members(ctx, etcd, &d)
	statuses(ctx, etcd, &d)
	clocks(ctx, etcd, t, &d)
	auth(ctx, etcd, t, &d)
	return d, nil
}

func yes(b bool) *bool { return &b }

func unknown(d *facts.Deployment, what string, err error) {
	d.Unknown = append(d.Unknown, fmt.Sprintf("%s: %v", what, err))
}

// members counts the voters. Learners have the data and no vote.
func members(ctx context.Context, etcd *clientv3.Client, d *facts.Deployment) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	list, err := etcd.MemberList(ctx)
	if err != nil {
		unknown(d, "member list", err)
		return
	}
	for _, m := range list.Members {
		member := facts.Member{Name: m.Name, ID: memberID(m.ID), Endpoint: strings.Join(m.ClientURLs, ",")}
		if m.IsLearner {
			member.Role = "learner"
		} else {
			d.Voters++
		}
		d.Members = append(d.Members, member)
	}
}

func memberID(id uint64) string { return strconv.FormatUint(id, 16) }

// stragglerLimit is how much later than the first a member may answer: one that is cut
// off would otherwise cost every look the whole reachLimit.
const stragglerLimit = time.Second

// refused connects once: that nobody listens is known at once, and the client
// library would try again for seconds.
func refused(ctx context.Context, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Port() == "" {
		return nil // the client library knows better
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	if err == nil {
		_ = c.Close()
	}
	return nil
}

// statuses asks every endpoint of the plan for itself and adds what it says to
// the member that it is. Two endpoints of one member are one member.
func statuses(ctx context.Context, etcd *clientv3.Client, d *facts.Deployment) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	endpoints := etcd.Endpoints()
	answers := make([]*clientv3.StatusResponse, len(endpoints))
	errs := make([]error, len(endpoints))
	var asked sync.WaitGroup
	var first sync.Once
	for i, e := range endpoints {
		asked.Go(func() {
			if errs[i] = refused(ctx, e); errs[i] != nil {
				return
			}
			if answers[i], errs[i] = etcd.Status(ctx, e); errs[i] == nil {
				first.Do(func() { time.AfterFunc(stragglerLimit, cancel) })
			}
		})
	}
	asked.Wait()
	oldest := ""
	for i, e := range endpoints {
		if errs[i] != nil {
			failed(d, e, errs[i])
			continue
		}
		a := answers[i]
		m := memberOf(d, e, memberID(a.Header.MemberId))
		m.Endpoint, m.Version = e, a.Version
		switch {
		case a.IsLearner:
			m.Role = "learner"
		case a.Leader == a.Header.MemberId:
			m.Role = "leader"
		default:
			m.Role = "follower"
		}
		if oldest == "" || versionLess(a.Version, oldest) {
			oldest = a.Version
		}
		for _, alarm := range a.Errors {
			d.Settings = append(d.Settings, facts.Setting{Name: "alarm at " + e, Value: alarm})
		}
	}
	d.Version = oldest
}

// failed keeps why an endpoint could not be read, at its member if the member
// list knows the endpoint.
func failed(d *facts.Deployment, endpoint string, err error) {
	for i := range d.Members {
		for _, u := range strings.Split(d.Members[i].Endpoint, ",") {
			if u == endpoint {
				d.Members[i].Endpoint, d.Members[i].Err = endpoint, err.Error()
				return
			}
		}
	}
	d.Members = append(d.Members, facts.Member{Endpoint: endpoint, Err: err.Error()})
}

// memberOf finds a member by its ID; without a member list it is new.
func memberOf(d *facts.Deployment, endpoint, id string) *facts.Member {
	for i := range d.Members {
		if d.Members[i].ID == id {
			return &d.Members[i]
		}
	}
	d.Members = append(d.Members, facts.Member{Endpoint: endpoint, ID: id})
	return &d.Members[len(d.Members)-1]
}

// versionLess compares dotted numbers; what is no number counts as 0.
func versionLess(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return len(as) < len(bs)
}

// auth asks whether the service wants credentials: etcd's own users, or, before
// them, a client certificate. It tries a read without any: to ask AuthStatus would need
// the rights of root.
func auth(ctx context.Context, etcd *clientv3.Client, t locks.Target, d *facts.Deployment) {
	users, err := wantsUser(ctx, t)
	if err != nil {
		unknown(d, "authentication", err)
		return
	}
	asks := users
	d.Settings = append(d.Settings, facts.Setting{Name: "auth enabled", Value: strconv.FormatBool(users)})
	if *d.TLS {
		wants, err := wantsCertificate(ctx, etcd.Endpoints()[0], t)
		if err != nil {
			unknown(d, "client certificate", err)
			return
		}
		asks = asks || wants
		d.Settings = append(d.Settings, facts.Setting{Name: "client certificate required", Value: strconv.FormatBool(wants)})
	}
	d.Auth = &asks
}

// wantsUser reads a key that is not there, as nobody. With --client-cert-auth the
// certificate's name may be a user of its own, and then nobody is not refused.
func wantsUser(ctx context.Context, t locks.Target) (bool, error) {
	t.Username, t.Password = "", ""
	config, err := configure(t)
	if err != nil {
		return false, err
	}
	nobody, err := clientv3.New(config)
	if err != nil {
		return false, err
	}
	defer nobody.Close()
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	_, err = nobody.Get(ctx, t.Key+"/lockaudit-nobody", clientv3.WithSerializable())
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrPermissionDenied):
		return true, nil
	case err != nil:
		return false, err
	}
	return false, nil
}
