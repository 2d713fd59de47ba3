// Package record is the run directory: the whole interface between acting and
// judging. A Writer fills it while the audit acts; Load reads it any time later,
// with no network, also when the run was cut off in the middle.
//
//	RUN/manifest.json         what ran, how it ended, hashes of all files
//	RUN/plan.yaml             the plan as it was, secrets redacted
//	RUN/facts.json            what inspection found
//	RUN/history/<probe>.jsonl one event a line
//	RUN/agents/<node>.jsonl   orders to the agent on a node and its answers
//	RUN/clients/<name>.log    the end of what a lock client wrote to stderr, secrets redacted
//	RUN/findings.json         written by the judge, not part of the record
package record

import (
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
)

// Format is the version of the run directory. Load refuses a newer one.
const Format = 1

// Run is a recorded run, as judges see it.
type Run struct {
	Dir      string
	Manifest Manifest
	// Facts is nil if inspection never finished.
	Facts *facts.Deployment
	// Histories by probe name; a probe that never started has none.
	Histories map[string][]history.Event
	// Damage lists what is wrong with the files, one line each: a truncated last
	// line, a hash that does not match, a missing file. Judging goes on, and the
	// report shows it.
	Damage []string
}

// Manifest says what ran and how it ended.
type Manifest struct {
	Format int    `json:"format"`
	ID     string `json:"id"`
	// Group is the ID of the record of several locks of which this run is one.
	Group    string    `json:"group,omitempty"`
	Tool     string    `json:"tool"` // version of lockaudit
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	Status   Status    `json:"status"`
	Err      string    `json:"err,omitempty"`
	Subject  Subject   `json:"subject"`
	// Seed drew what the probes left to chance; 0: nothing.
	Seed   uint64  `json:"seed,omitempty"`
	Probes []Probe `json:"probes"`
	// Nodes are those whose agents were reached.
	Nodes []Node `json:"nodes,omitempty"`
	// Residue lists faults that may still be in effect, with the way to remove
	// them by hand. Anything here makes the exit status 4.
	Residue []Residue `json:"residue,omitempty"`
	// Files maps each file's path in the run directory to its SHA-256 in hex.
	Files map[string]string `json:"files,omitempty"`
}

// Status says how a run ended. The zero value is a run that was cut off.
type Status string

// How a run can end.
const (
	Running     Status = "running"     // still going, or the auditor died
	Complete    Status = "complete"    // every probe was tried
	Interrupted Status = "interrupted" // stopped on request (ctrl-C, SIGTERM)
	Aborted     Status = "aborted"     // could not go on; Err says why
)

// Subject is what a judge must know about the audited deployment.
type Subject struct {
	Name string `json:"name"`
	// Owner is who answers for the lock, Waivers are the failures that are accepted.
	Owner     Owner    `json:"owner,omitzero"`
	Waivers   []Waiver `json:"waivers,omitempty"`
	Backend   string   `json:"backend"`
	Endpoints []string `json:"endpoints,omitempty"`
	Key       string   `json:"key"`
	// TTL as asked for by the plan, in nanoseconds.
	TTL time.Duration `json:"ttl"`
	// Purpose is correctness or efficiency (Kleppmann): for an efficiency lock a
	// double grant costs work, not data, and fencing is advice.
	Purpose  string `json:"purpose"`
	Resource string `json:"resource,omitempty"` // its kind; empty: no resource in the plan
	// Signals: does the plan name metrics or a log in which lock failures should show?
	Signals bool `json:"signals,omitempty"`
	// Rules is the name of the file of Prometheus rules that the plan names, Alerts are
	// those in it.
	Rules  string  `json:"rules,omitempty"`
	Alerts []Alert `json:"alerts,omitempty"`
	// BuiltinClient: the probes ran with lockaudit's own lock client, not with the
	// deployment's.
	BuiltinClient bool `json:"builtin_client,omitempty"`
	// Observed: the holder in the five steps was a process of the application itself.
	Observed bool `json:"observed,omitempty"`
	// Takeover is the longest time without a holder that the plan accepts after a
	// crash; 0: the plan does not say.
	Takeover time.Duration `json:"takeover,omitempty"`
	// Capabilities that the lock client declared, once it was started.
	Capabilities []string `json:"capabilities,omitempty"`
	// File is the name of the plan file, where it has several locks of which this is one.
	File string `json:"file,omitempty"`
	// Plan is the path of the plan file as the user gave it, for reproducing commands.
	Plan string `json:"plan,omitempty"`
	// Passive: nothing was acquired, written or injected; such a run has no letter.
	Passive bool `json:"passive,omitempty"`
}

// Can reports whether the lock client declared a capability.
func (s Subject) Can(capability string) bool {
	for _, c := range s.Capabilities {
		if c == capability {
			return true
		}
	}
	return false
}

// Probe is one probe of the run.
type Probe struct {
	Name   string      `json:"name"`
	Status ProbeStatus `json:"status"`
	// Trials asked for and completed.
	Trials    int    `json:"trials"`
	Completed int    `json:"completed"`
	Err       string `json:"err,omitempty"`
	// Repeats are the trials that were carried out again, and count for nothing but
	// the harm that was seen in them.
	Repeats []Repeat `json:"repeats,omitempty"`
}

// Repeat is one trial that did not show what it should, and was repeated.
type Repeat struct {
	Trial int    `json:"trial"`
	Why   string `json:"why"`
}

// Whole reports whether the trial of that number came to its end. The auditor stops a
// probe at its first trial that does not and is not repeated.
func (p Probe) Whole(trial int) bool {
	before := 0
	for _, r := range p.Repeats {
		if r.Trial == trial {
			return false
		}
		if r.Trial < trial {
			before++
		}
	}
	return trial-before <= p.Completed
}

// ProbeStatus says how one probe ended.
type ProbeStatus string

// How a probe can end. Only a completed trial stands behind a verdict, but the
// events of every trial are kept.
const (
	Ran     ProbeStatus = "ran"     // every trial was completed
	Failed  ProbeStatus = "failed"  // a trial could not be carried out; Err says why
	Skipped ProbeStatus = "skipped" // not possible on this deployment; Err says why
	Pending ProbeStatus = "pending" // not reached
)

// Node is what an agent said of its node when it was reached, and its clocks against the
// auditor's. Clocks place what a node says of its own time on the axis of the events, and
// decide nothing.
type Node struct {
	Name         string `json:"name"`
	Hostname     string `json:"hostname"`
	AgentVersion string `json:"agent_version"`
	// Protocol is the version of the order protocol that was agreed on.
	Protocol int `json:"protocol"`
	// RoundTrip is the least of several. ClockAhead is the node's wall clock minus the
	// auditor's, off by at most ClockError.
	RoundTrip  time.Duration `json:"round_trip,omitempty"`
	ClockAhead time.Duration `json:"clock_ahead"`
	ClockError time.Duration `json:"clock_error,omitempty"`
	// Raw is what the node's CLOCK_MONOTONIC_RAW showed RawAt on the axis of the events,
	// also off by ClockError; 0: not known.
	Raw   time.Duration `json:"raw,omitempty"`
	RawAt time.Duration `json:"raw_at,omitempty"`
	// Unread says why the clocks could not be read.
	Unread string `json:"unread,omitempty"`
	// Times is how often the node was reached: once, and again after each loss.
	Times int `json:"times"`
}

// Residue is a fault that may still be in effect.
type Residue struct {
	Node  string `json:"node"`
	Fault string `json:"fault"`
	What  string `json:"what"`
	// Remove is the command that removes it by hand.
	Remove string `json:"remove"`
}

// Owner is who answers for a lock.
type Owner struct {
	Team    string `json:"team,omitempty"`
	Contact string `json:"contact,omitempty"`
}

// Waiver accepts the failure of one item for a while. Until is the last day on which it
// holds, in UTC: 2026-12-31.
type Waiver struct {
	Item   string `json:"item"`
	Owner  string `json:"owner"`
	Reason string `json:"reason"`
	Until  string `json:"until"`
}
