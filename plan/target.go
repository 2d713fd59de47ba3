package plan

import (
	"encoding/json"
	"fmt"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/resources"
)

// LockTarget is the lock service as a client must be told of it, for a key of
// the audit's own.
func (p *Plan) LockTarget(key string) (locks.Target, error) {
	options, err := rawOptions(p.Lock.Options)
	if err != nil {
		return locks.Target{}, fmt.Errorf("encode lock.options: %w", err)
	}
	return locks.Target{
		Backend: p.Lock.Backend, Endpoints: p.Lock.Endpoints, Key: key, TTL: p.Lock.TTL,
		TLS: p.Lock.TLS, Username: p.Lock.Username, Password: p.Lock.Password, Options: options,
	}, nil
}

// ResourceTarget is the protected resource, or nil if the plan names none.
func (p *Plan) ResourceTarget() (*resources.Target, error) {
	r := p.Resource
	if r == nil {
		return nil, nil
	}
	options, err := rawOptions(r.Options)
	if err != nil {
		return nil, fmt.Errorf("encode resource.options: %w", err)
	}
	return &resources.Target{
		Kind: r.Kind, URL: r.URL, TokenHeader: r.TokenHeader, Endpoints: r.Endpoints,
		Username: r.Username, Password: r.Password, Options: options,
	}, nil
}

func rawOptions(options map[string]any) (json.RawMessage, error) {
	if len(options) == 0 {
		return nil, nil
	}
	return json.Marshal(options)
}
