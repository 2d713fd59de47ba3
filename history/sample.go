package history

import (
	"math"
	"slices"
	"time"
)

// OpMeasure is a measurement: its ok carries a Sample.
const OpMeasure Op = "measure"

// Names of samples.
const (
	SampleRTT     = "rtt"     // from a client node to a lock server, Peer
	SampleAcquire = "acquire" // an acquire of the free canary key, Peer empty
	SampleRelease = "release" // its release
	SamplePause   = "pause"   // gaps in which a thread of the node did not run
	SampleRenewal = "renewal" // between two renewals of the application's own lock
	SampleLease   = "lease"   // of the application's own lock; Source exact or at least
	SampleStall   = "stall"   // the longest gap in which the auditor did not run
	// Of one process of the deployment:
	SampleStop     = "stop"     // its runtime stopped all of its threads, as for a garbage collection
	SampleThrottle = "throttle" // its control group had used up its CPU quota, summed over the CPUs
)

// Nanoseconds is the unit of every sample of durations.
const Nanoseconds = "ns"

// Sample is a distribution as measured on a node.
type Sample struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Node is where it was measured, Peer what it was measured to; "" for none.
	Node string `json:"node,omitempty"`
	Peer string `json:"peer,omitempty"`
	// Source says how: "tcp connect", "tcp_info", "1 ms hiccup meter".
	Source string `json:"source,omitempty"`
	// Count is the number of observations, and 0 when there was nothing to see.
	Count     int   `json:"count"`
	Quantiles []Q   `json:"quantiles,omitempty"`
	Max       int64 `json:"max,omitempty"`
	// Over is how long the measurement lasted, in nanoseconds: a maximum means
	// little without it.
	Over time.Duration `json:"over,omitempty"`
	// Notes are what else the node said about the same time, in words:
	// "cgroup throttled 3 of 50 periods, 120 ms".
	Notes []string `json:"notes,omitempty"`
}

// Q is one quantile: V is the value that a share P (0 to 1) of all observations
// does not exceed.
type Q struct {
	P float64 `json:"p"`
	V int64   `json:"v"`
}

// quantiles of every sample; the rest of the distribution is Max.
func sampleQuantiles() []float64 { return []float64{0.5, 0.9, 0.99, 0.999} }

// NewSample makes a sample of durations out of all its observations. It sorts
// them in place.
func NewSample(name string, values []time.Duration, over time.Duration) Sample {
	s := Sample{Name: name, Unit: Nanoseconds, Count: len(values), Over: over}
	if len(values) == 0 {
		return s
	}
	slices.Sort(values)
	for _, p := range sampleQuantiles() {
		// Nearest rank: an observed value, never one between two.
		rank := int(math.Ceil(p*float64(len(values)))) - 1
		s.Quantiles = append(s.Quantiles, Q{P: p, V: int64(values[max(rank, 0)])})
	}
	s.Max = int64(values[len(values)-1])
	return s
}

// Quantile returns the smallest kept quantile at or above p as a duration, and
// the maximum beyond the last one.
func (s Sample) Quantile(p float64) time.Duration {
	for _, q := range s.Quantiles {
		if q.P >= p {
			return time.Duration(q.V)
		}
	}
	return time.Duration(s.Max)
}
