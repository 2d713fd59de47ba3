// Package measure is what a node can tell about itself without being disturbed:
// how long threads did not run, how far the lock servers are, what the
// deployment's metrics and logs say. Nothing here writes, injects or needs more
// rights than to read; the agent runs it on an order.
package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject/target"
)

// Kind names a measurement.
type Kind string

// The measurements, each with its parameters and result.
const (
	KindPauses  Kind = "pauses"  // Pauses → history.Sample
	KindRTT     Kind = "rtt"     // RTT → history.Sample
	KindSockets Kind = "sockets" // Sockets → history.Sample
	KindFetch   Kind = "fetch"   // Fetch → Page
	KindLog     Kind = "log"     // Log → Lines
	KindClock   Kind = "clock"   // Clock → Reading
	KindProcess Kind = "process" // target.Selector → target.Target
	KindFlows   Kind = "flows"   // inject.Process → []target.Flow
	KindStops   Kind = "stops"   // Stops → []history.Sample
)

// ErrParams: the parameters are out of range or not understood.
var ErrParams = errors.New("bad parameters")

// Pauses asks for gaps in which a thread of the node did not run.
type Pauses struct {
	For time.Duration `json:"for"`
}

// RTT asks for the time of Count TCP connects to Peer (host:port).
type RTT struct {
	Peer  string `json:"peer"`
	Count int    `json:"count"`
}

// Sockets asks for what the kernel knows about the live TCP connections of this
// node to Peer (host:port).
type Sockets struct {
	Peer string `json:"peer"`
}

// Fetch asks for one page by HTTP.
type Fetch struct {
	URL string `json:"url"`
}

// Log asks for the lines that a file, or a systemd unit's journal, gained since a mark.
type Log struct {
	// File is a path, or a pattern of * and ? that means one file.
	File string `json:"file,omitempty"`
	// Unit is read from the journal instead.
	Unit string `json:"unit,omitempty"`
	// From is where the last look ended; "" asks only for a mark.
	From string `json:"from,omitempty"`
}

// Run carries out one measurement and returns its result as JSON.
func Run(ctx context.Context, kind Kind, params json.RawMessage) (json.RawMessage, error) {
	switch kind {
	case KindPauses:
		return run(ctx, kind, params, pauses)
	case KindRTT:
		return run(ctx, kind, params, connects)
	case KindSockets:
		return run(ctx, kind, params, sockets)
	case KindFetch:
		return run(ctx, kind, params, fetch)
	case KindLog:
		return run(ctx, kind, params, readLog)
	case KindClock:
		return run(ctx, kind, params, readClock)
	case KindProcess:
		return run(ctx, kind, params, target.Resolve)
	case KindFlows:
		return run(ctx, kind, params, target.Flows)
	case KindStops:
		return run(ctx, kind, params, readStops)
	}
	return nil, fmt.Errorf("unknown kind %q: %w", kind, ErrParams)
}

func run[P, R any](ctx context.Context, kind Kind, params json.RawMessage, do func(context.Context, P) (R, error)) (json.RawMessage, error) {
	var p P
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, fmt.Errorf("decode parameters: %w: %w", ErrParams, err)
	}
	r, err := do(ctx, p)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result of %s: %w", kind, err)
	}
	return out, nil
}
