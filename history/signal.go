package history

import "time"

// OpSignal is a look at what the deployment tells its operators: its ok carries a
// Signal, its fail says why there is nothing to see.
const OpSignal Op = "signal"

// Phases of the looks around a refusal.
const (
	PhaseQuiet   = "quiet"   // nobody's acquire fails
	PhaseRefused = "refused" // every acquire fails
)

// Kinds of sources.
const (
	KindMetrics = "metrics" // a Prometheus endpoint
	KindLog     = "log"     // a log file
)

// Signal is what changed at one source of metrics or log lines in one window.
type Signal struct {
	// Source is the metrics URL without its password, or the log file.
	Source string `json:"source"`
	Kind   string `json:"kind"`
	// Phase is what went on during the window, Over how long it lasted (ns), and
	// Refusals how many acquires failed in it.
	Phase    string        `json:"phase"`
	Over     time.Duration `json:"over"`
	Refusals int           `json:"refusals,omitempty"`
	// Moved are the metrics whose value changed, Lines the lines that were added.
	Moved []Move `json:"moved,omitempty"`
	// Still are series that were read and did not change, Series how many were read.
	Still  []string `json:"still,omitempty"`
	Series int      `json:"series,omitempty"`
	Lines  []Line   `json:"lines,omitempty"`
	// More counts the moves and lines that were left out of a long list; what Still
	// leaves out follows from Series.
	More int `json:"more,omitempty"`
}

// Move is one time series whose value changed.
type Move struct {
	// Series is the name with its labels: lock_acquire_total{outcome="held"}.
	Series string `json:"series"`
	// Type is counter, gauge, histogram, summary or untyped.
	Type   string  `json:"type,omitempty"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	// Seen is how long after the window's first refusal the change was first seen.
	Seen time.Duration `json:"seen,omitempty"`
}

// Line is one log line.
type Line struct {
	Text string        `json:"text"`
	Seen time.Duration `json:"seen,omitempty"`
}
