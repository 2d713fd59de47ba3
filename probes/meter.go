package probes

import (
	"context"
	"errors"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// Meter measures on nodes and reads what the deployment tells. It changes nothing.
type Meter interface {
	// Pauses watches a node for d for gaps in which nothing ran.
	Pauses(ctx context.Context, node string, d time.Duration) (history.Sample, error)
	// OwnStops watches the plan's process on a node for d for what stops it alone.
	OwnStops(ctx context.Context, node string, d time.Duration) ([]history.Sample, error)
	// Connects times TCP connects from a node to host:port.
	Connects(ctx context.Context, node, peer string, count int) (history.Sample, error)
	// Sockets reads the kernel's round-trip times of a node's live connections to
	// host:port.
	Sockets(ctx context.Context, node, peer string) (history.Sample, error)
	// Metrics fetches a page of metrics from a client node.
	Metrics(ctx context.Context, url string) (Page, error)
	// LogSince returns the lines that the plan's log file gained since the mark,
	// and the next mark; with mark "" only the latter. It fails with ErrRotated where
	// lines may have been missed between two looks.
	LogSince(ctx context.Context, mark string) (lines []string, next string, err error)
	// WallClock compares a node's time of day with the auditor's.
	WallClock(ctx context.Context, node string) (history.Clock, error)
}

// ErrRotated: a log was rotated or truncated between two looks at it.
var ErrRotated = errors.New("log rotated")

// Page is an answer to a request for metrics.
type Page struct {
	Status      int
	ContentType string
	Text        []byte
}
