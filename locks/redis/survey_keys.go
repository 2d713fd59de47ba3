package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

const (
	// page is how many keys one SCAN asks for: less than a millisecond of the server.
	page = 500
	// pollEvery is how often the keys that may be locks are looked at.
	pollEvery = 200 * time.Millisecond
	// maxKey is the longest name that is worth a look.
	maxKey = 512
)

// keys looks at all keys once, up to the limit, and then watches those that may be
// locks, going on to look for new ones: a lock that is held for a moment only is not
// there all the time.
func (l *look) keys(ctx context.Context) error {
	w := &survey.Watch{}
	l.refused = map[string]bool{}
	scans := make([]scan, len(l.masters))
	for i, m := range l.masters {
		scans[i] = scan{rdb: m, match: glob(l.options.Prefix), key: l.options.Key}
		for !scans[i].done && l.found.Keys < l.options.Limit {
			l.options.Progress(fmt.Sprintf("look at the keys: %d so far", l.found.Keys), time.Time{})
			n, err := l.page(ctx, w, &scans[i])
			if err != nil {
				return err
			}
			l.found.Keys += n
		}
	}
	l.found.All = !slices.ContainsFunc(scans, func(s scan) bool { return !s.done })
	if err := l.watch(ctx, w, scans); err != nil {
		return err
	}
	l.found.Locks = w.Groups()
	if needs := slices.Sorted(maps.Keys(l.refused)); len(needs) > 0 {
		l.note("%d of the keys may not be read; the first needs the permission %s", len(needs), needs[0])
	}
	return nil
}

// scan goes through the keys of one server, and begins again at the end.
type scan struct {
	rdb    *redis.Client
	match  string
	cursor uint64
	done   bool   // all keys were seen once
	key    string // the only one to look at, if it is known
}

// glob matches the keys that begin with a prefix, which is meant literally.
func glob(prefix string) string {
	out := []byte{}
	for _, c := range []byte(prefix) {
		if c == '*' || c == '?' || c == '[' || c == ']' || c == '\\' || c == '^' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out) + "*"
}

// page looks at the next keys of a server and says how many there were.
func (l *look) page(ctx context.Context, w *survey.Watch, s *scan) (int, error) {
	keys, cursor, err := s.next(ctx)
	if err != nil {
		return 0, fmt.Errorf("look for keys: SCAN: %w", err)
	}
	s.cursor = cursor
	s.done = s.done || cursor == 0
	keys = slices.DeleteFunc(keys, func(k string) bool { return len(k) > maxKey })
	return len(keys), l.sight(ctx, w, s.rdb, keys)
}

func (s *scan) next(ctx context.Context) (keys []string, cursor uint64, err error) {
	if s.key != "" {
		return []string{s.key}, 0, nil
	}
	type result struct {
		keys   []string
		cursor uint64
	}
	r, err := Call(ctx, func() (r result, err error) {
		r.keys, r.cursor, err = s.rdb.Scan(ctx, s.cursor, s.match, page).Result()
		return r, err
	})
	return r.keys, r.cursor, err
}

// watch polls what may be a lock until the time is over.
func (l *look) watch(ctx context.Context, w *survey.Watch, scans []scan) error {
	began := time.Now()
	until := began.Add(l.options.For)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	where := map[string]int{} // which server has a candidate
	for i := 0; time.Now().Before(until); i++ {
		candidates := w.Candidates()
		l.options.Progress(fmt.Sprintf("watch %d keys that may be locks", len(candidates)), until)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for n, s := range scans {
			mine := candidates
			if len(scans) > 1 {
				mine = slices.DeleteFunc(slices.Clone(candidates), func(k string) bool { at, ok := where[k]; return ok && at != n })
			}
			if err := l.sight(ctx, w, s.rdb, mine); err != nil {
				return err
			}
		}
		if _, err := l.page(ctx, w, &scans[i%len(scans)]); err != nil {
			return err
		}
	}
	l.found.Watched = time.Since(began)
	return nil
}

// sight looks at keys of one server, in two round trips: what they are and how long
// they live, and then who holds them.
func (l *look) sight(ctx context.Context, w *survey.Watch, rdb *redis.Client, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	types := make([]*redis.StatusCmd, len(keys))
	lives := make([]*redis.DurationCmd, len(keys))
	err := l.pipeline(ctx, rdb, func(p redis.Pipeliner) {
		for i, k := range keys {
			types[i], lives[i] = p.Type(ctx, k), p.PTTL(ctx, k)
		}
	})
	at := time.Now()
	if err != nil {
		return err
	}
	values := make([]*redis.StringCmd, len(keys))
	hashes := make([]*redis.ScanCmd, len(keys))
	err = l.pipeline(ctx, rdb, func(p redis.Pipeliner) {
		for i, k := range keys {
			switch {
			case types[i].Err() != nil || lives[i].Err() != nil:
			case types[i].Val() == "string":
				values[i] = p.GetRange(ctx, k, 0, survey.MaxValue-1)
			case types[i].Val() == "hash":
				hashes[i] = p.HScan(ctx, k, 0, "", 2)
			}
		}
	})
	if err != nil {
		return err
	}
	for i, k := range keys {
		left := lives[i].Val()
		s := survey.Sighting{Key: k, At: at, Kind: types[i].Val(), Left: max(left, 0), Leased: left > 0}
		switch {
		case values[i] != nil && values[i].Err() == nil && left != -2: // -2: it went meanwhile
			s.Owner = values[i].Val()
		case hashes[i] != nil && hashes[i].Err() == nil:
			fields, _ := hashes[i].Val()
			if len(fields) != 2 { // one field and its value, as Redisson does
				continue
			}
			s.Owner = fields[0]
		default:
			if types[i].Err() == nil {
				w.Free(k)
			}
			continue
		}
		if k == l.options.Key {
			s.Certain = "it was named as one"
		}
		w.See(s)
	}
	return nil
}

// pipeline sends commands together. What only a permission for one key forbids is
// counted, and anything else ends the look.
func (l *look) pipeline(ctx context.Context, rdb *redis.Client, fill func(redis.Pipeliner)) error {
	var cmds []redis.Cmder
	_, err := Call(ctx, func() (struct{}, error) {
		var err error
		cmds, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error { fill(p); return nil })
		return struct{}{}, err
	})
	for _, cmd := range cmds {
		var denied *locks.Denied
		switch err := cmd.Err(); {
		case err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "WRONGTYPE"):
		case errors.As(err, &denied) && denied.Needs[0] != '+':
			l.refused[denied.Needs] = true
		default:
			return fmt.Errorf("look at keys: %s: %w", cmd.Name(), err)
		}
	}
	if len(cmds) == 0 {
		return err
	}
	return nil
}
