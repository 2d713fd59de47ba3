package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockaudit/lockaudit/survey"
)

const (
	// page is how many keys one request asks for.
	page = 500
	// pollEvery is how often leases are looked at; coarse is how finely they are told.
	pollEvery = 250 * time.Millisecond
	coarse    = time.Second
	// atOnce is how many keys are looked at at the same time.
	atOnce = 8
	// named is why a key counts as a lock that somebody said is one.
	named = "it was named as one"
	// maxSights bounds how many keys of the first pass are looked at one by one.
	maxSights = 400
)

// look is one survey under way.
type look struct {
	etcd    *clientv3.Client
	options survey.Options
	found   *survey.Survey
	watch   survey.Watch
	// mutex: the name is that of a mutex or election, and its keys lie below it.
	mutex map[string]bool
}

// keys goes through the keys once, up to the limit, and then watches those that may be
// locks.
func (l *look) keys(ctx context.Context) error {
	from, end := l.options.Prefix, clientv3.GetPrefixRangeEnd(l.options.Prefix)
	if from == "" {
		from, end = "\x00", "\x00" // every key
	}
	var names []string
	if l.options.Key != "" {
		names, l.found.All = []string{l.options.Key}, true
	}
	for at := from; l.found.Keys < l.options.Limit && !l.found.All; {
		l.options.Progress(fmt.Sprintf("look at the keys: %d so far", l.found.Keys), time.Time{})
		got, err := l.etcd.Get(ctx, at, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithKeysOnly())
		if err != nil {
			return fmt.Errorf("look for keys: %w", needs(err, from, true))
		}
		l.found.Keys += len(got.Kvs)
		l.found.All = !got.More
		for _, kv := range got.Kvs {
			at = string(kv.Key) + "\x00"
			names = append(names, l.name(kv)...)
		}
	}
	if n := len(names); n > maxSights {
		l.found.Notes = append(l.found.Notes, fmt.Sprintf("only %d of %d keys that may be locks were looked at; --prefix narrows it down", maxSights, n))
		names = names[:maxSights]
	}
	if err := l.sight(ctx, names); err != nil {
		return err
	}
	if err := l.poll(ctx); err != nil {
		return err
	}
	l.found.Locks = l.watch.Groups()
	return nil
}

// name is what to look at for a key, if it may be a lock and was not met before:
// "/locks/billing" for "/locks/billing/694d7c…", whose last part is its lease. Since 3.7
// etcd does not tell the lease of a key without its value, so that the form must do.
func (l *look) name(kv *mvccpb.KeyValue) []string {
	key := string(kv.Key)
	if name, ok := mutexName(key); ok && (kv.Lease == 0 || key == mutexKey(name, kv.Lease)) {
		if l.mutex[name] {
			return nil
		}
		l.mutex[name] = true
		return []string{name}
	}
	if kv.Lease != 0 || survey.Named(key) {
		return []string{key}
	}
	return nil
}

// mutexKey is the key below a mutex's name that belongs to a lease.
func mutexKey(name string, lease int64) string { return name + "/" + strconv.FormatInt(lease, 16) }

// mutexName takes the name out of a key that may be a mutex's. Leases are 63 random
// bits, so that one of less than twelve digits is not to be met with.
func mutexName(key string) (string, bool) {
	i := strings.LastIndexByte(key, '/')
	if i <= 0 || len(key)-i-1 < 12 {
		return "", false
	}
	id, err := strconv.ParseInt(key[i+1:], 16, 64)
	return key[:i], err == nil && mutexKey(key[:i], id) == key
}

// poll watches the candidates until the time is over.
func (l *look) poll(ctx context.Context) error {
	began := time.Now()
	until := began.Add(l.options.For)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for time.Now().Before(until) {
		candidates := l.watch.Candidates()
		if l.options.Key != "" {
			candidates = []string{l.options.Key}
		}
		l.options.Progress(fmt.Sprintf("watch %d keys that may be locks", len(candidates)), until)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := l.sight(ctx, candidates); err != nil {
			return err
		}
	}
	l.found.Watched = time.Since(began)
	return nil
}

// sight looks at each of the names once.
func (l *look) sight(ctx context.Context, names []string) error {
	seen := make([]survey.Sighting, len(names))
	errs := make([]error, len(names))
	free := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, name := range names {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			if !l.mutex[name] {
				seen[i], errs[i] = l.sightKey(ctx, name)
			}
			// Which of both a key is that somebody named shows only while it is held.
			if l.mutex[name] || name == l.options.Key && seen[i].Key == "" && errs[i] == nil {
				seen[i], errs[i] = l.sightMutex(ctx, name)
			}
		})
	}
	all.Wait()
	for i, s := range seen {
		switch {
		case s.Key != "":
			l.watch.See(s)
		case errs[i] == nil:
			l.watch.Free(names[i])
		}
	}
	return errors.Join(errs...)
}

// sightMutex looks at the oldest key below a mutex's name, which is the holder's.
func (l *look) sightMutex(ctx context.Context, name string) (survey.Sighting, error) {
	got, err := l.etcd.Get(ctx, name+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return survey.Sighting{}, fmt.Errorf("look at %s: %w", name, needs(err, name+"/", true))
	}
	if len(got.Kvs) == 0 {
		return survey.Sighting{}, nil // it is free now
	}
	kv := got.Kvs[0]
	// got.Count counts all its keys, whatever the limit is.
	s := survey.Sighting{Key: name, Kind: "mutex", Certain: "it is built as concurrency.Mutex builds it", Owner: string(kv.Key), Waiting: int(got.Count) - 1}
	switch {
	case string(kv.Key) != mutexKey(name, kv.Lease):
		if name != l.options.Key {
			return survey.Sighting{}, nil // it only looked like one
		}
		s.Kind, s.Certain = "queue", named
	case len(kv.Value) > 0:
		s.Kind, s.Certain = "election", "it is built as concurrency.Election builds it"
	}
	return l.leased(ctx, s, kv)
}

// sightKey looks at a key that is not built by the usual library.
func (l *look) sightKey(ctx context.Context, key string) (survey.Sighting, error) {
	got, err := l.etcd.Get(ctx, key)
	if err != nil {
		return survey.Sighting{}, fmt.Errorf("look at %s: %w", key, needs(err, key, false))
	}
	if len(got.Kvs) == 0 {
		return survey.Sighting{}, nil
	}
	value := got.Kvs[0].Value
	s := survey.Sighting{Key: key, Kind: "key", Owner: string(value[:min(len(value), survey.MaxValue)])}
	if key == l.options.Key {
		s.Certain = named
	}
	return l.leased(ctx, s, got.Kvs[0])
}

// leased adds the rest of a key's lease.
func (l *look) leased(ctx context.Context, s survey.Sighting, kv *mvccpb.KeyValue) (survey.Sighting, error) {
	if kv.Lease != 0 {
		lease, err := l.etcd.TimeToLive(ctx, clientv3.LeaseID(kv.Lease))
		if err != nil {
			return survey.Sighting{}, fmt.Errorf("look at the lease of %s: %w", s.Key, needs(err, string(kv.Key), false))
		}
		if lease.TTL < 0 {
			return survey.Sighting{}, nil // it has ended, and the key goes with it
		}
		s.Left, s.Granted, s.Leased = time.Duration(lease.TTL)*time.Second, time.Duration(lease.GrantedTTL)*time.Second, true
	}
	s.At = time.Now()
	return s, nil
}
