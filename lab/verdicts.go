package lab

import "strings"

// verdictRows has the right outcome of every checklist item on every lab, in the
// order of All. "-" is inconclusive: the probes of this version cannot decide it
// there, and a verdict would be a false one; "n/a" is a question that does not arise.
//
//	fenced  unfenced equality redis    split    signals  silent   five     lease    advisory  sentinel nats     redlock  zookeeper
func verdictRows() []string {
	return []string{
		"consensus_backed               pass     pass     pass     fail     fail     pass     pass     pass     fail     fail      fail     pass     fail   pass",
		"fencing_enforced               pass     fail     fail     fail     fail     pass     -        pass     pass     fail      -        pass     fail   pass",
		"tokens_increasing              pass     pass     pass     fail     fail     -        -        -        pass     fail      fail     -        fail   pass",
		"no_double_grant                pass     pass     pass     fail     fail     pass     -        pass     fail     -         fail     pass     fail   pass",
		"effects_happen_once            pass     fail     -        fail     fail     pass     -        -        pass     -         -        pass     -      pass",
		"not_single_instance            pass     pass     pass     fail     fail     pass     pass     pass     fail     fail      pass     pass     pass   pass",
		"not_ttl_only                   pass     fail     fail     fail     fail     pass     -        -        pass     -         -        pass     fail   pass",
		"lease_fits_pauses              pass     pass     pass     pass     pass     pass     -        -        pass     n/a       pass     pass     warn   pass",
		"lock_failures_observable       -        -        -        -        -        pass     fail     -        -        -         -        -        -      -",
		"partitions_tested              pass     fail     fail     fail     fail     pass     -        pass     pass     -         -        pass     fail   pass",
		"operation_idempotent           pass     fail     fail     fail     fail     pass     -        -        pass     -         pass     pass     fail   pass",
		"wall_clock_independent         pass     pass     pass     fail     fail     -        -        -        fail     -         -        fail     fail   pass",
		"recovers_after_crash           pass     pass     pass     pass     -        pass     -        -        pass     fail      -        pass     -      pass",
		"lost_reply_retry_safe          pass     pass     -        fail     -        -        -        -        fail     -         -        -        fail   pass",
		"notices_loss                   pass     warn     warn     warn     -        pass     -        pass     warn     -         -        warn     warn   pass",
		"tls_and_auth                   pass     warn     warn     warn     warn     pass     pass     pass     warn     warn      warn     warn     warn   pass",
		"idempotency_could_replace_lock pass     warn     warn     warn     warn     pass     -        -        pass     -         pass     pass     warn   pass",
	}
}

// Verdict is the right outcome of one item.
type Verdict struct {
	Item, Outcome string
}

// Verdicts are the lab's known right ones, in the order of the checklist.
func (l Lab) Verdicts() []Verdict {
	column := 0
	for i, name := range Names() {
		if name == l.Name {
			column = i + 1
		}
	}
	var out []Verdict
	for _, row := range verdictRows() {
		cells := strings.Fields(row)
		outcome := cells[column]
		switch outcome {
		case "-":
			outcome = "inconclusive"
		case "n/a":
			outcome = "not-applicable"
		}
		out = append(out, Verdict{cells[0], outcome})
	}
	return out
}
