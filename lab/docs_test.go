package lab

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/labs.md")

const docsFile = "../docs/labs.md"

// TestDocsAreCurrent: docs/labs.md is made from the tables of this package.
func TestDocsAreCurrent(t *testing.T) {
	want := docs()
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current: run go test ./lab -run Docs -update", docsFile)
	}
}

// TestVerdictsAreWhole: every row has a word of the checklist's for every lab, and
// they amount to the lab's letter and exit status.
func TestVerdictsAreWhole(t *testing.T) {
	words := []string{"pass", "warn", "fail", "-", "n/a"}
	for _, row := range verdictRows() {
		cells := strings.Fields(row)
		if len(cells) != 1+len(All()) {
			t.Fatalf("row %q has %d outcomes for %d labs", row, len(cells)-1, len(All()))
		}
		for _, c := range cells[1:] {
			if !slices.Contains(words, c) {
				t.Errorf("row %q: outcome %q", row, c)
			}
		}
	}
	for _, l := range All() {
		bad := slices.ContainsFunc(l.Verdicts(), func(v Verdict) bool { return v.Outcome == "fail" || v.Outcome == "warn" })
		if bad == (l.Letter == "A") {
			t.Errorf("%s: letter %s and verdicts %v", l.Name, l.Letter, l.Verdicts())
		}
	}
}

func docs() string {
	var b strings.Builder
	b.WriteString(`# The labs, and their known right verdicts

Made from the tables in lab/ by ` + "`go test ./lab -run Docs -update`" + `; do not edit.

A lab is a real deployment in network namespaces on one machine: ` + "`locklab up NAME`" + `. Its right verdicts are known, because it was built to have them. A grader that has not failed the bad ones and passed the good ones is not trusted: ` + "`go test . -run Demo`" + ` audits every lab, as root and as an ordinary user, and compares every item with this table.

| lab | letter | what it shows |
|---|---|---|
`)
	for _, l := range All() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", l.Name, l.Letter, l.Teaches)
	}
	b.WriteString("\nAn empty cell is inconclusive: nothing there can be decided by the probes of this version, and what was not shown is never passed.\n\n| item |")
	for _, name := range Names() {
		b.WriteString(" " + name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(All())) + "\n")
	for _, row := range verdictRows() {
		cells := strings.Fields(row)
		fmt.Fprintf(&b, "| [%s](checklist.md#%s) |", cells[0], cells[0])
		for _, c := range cells[1:] {
			fmt.Fprintf(&b, " %s |", strings.TrimPrefix(c, "-"))
		}
		b.WriteString("\n")
	}
	b.WriteString(`
Why some cells are as they are:

- **effects_happen_once on etcd-equality**: the rightful holder's increment is refused, so nothing could be lost; that it is refused is fencing_enforced's failure.
- **no_double_grant on redis-single**: killed and started again it has forgotten A's lock, and B is granted it within A's lease. With appendfsync always it would not have. A jump of its wall clock does the same, and no setting helps.
- **wall_clock_independent on redis-single**: its clocks jump ahead, and A's lease is over early; they jump back, and the lease of a dead A goes on until they are right again. etcd's leases do neither.
- **tokens_increasing on etcd-signals, etcd-silent and etcd-5**: their plans leave failover and restart out, so that all labs together stay short.
- **partitions_tested on the unfenced labs**: the lock survives a partition of its holder, the data does not.
- **notices_loss on etcd-unfenced and etcd-equality**: their client never looks at ` + "`Session.Done()`" + `, as many applications do not. That of the other etcd labs has ` + "`local_expiry`" + `: it stops by its own clock. etcd's session alone is neither: cut off before a lease's first renewal is answered it believes on for the dial timeout and a second, and otherwise notices in time, so that no lab can promise its verdict.
- **lock_failures_observable on etcd-silent**: metrics and log are there and are read, and neither changes while acquires are refused. On the labs without signals nothing is named where it could show.
- **etcd-silent and etcd-5** run the probes of their own question only; what is empty there is shown on etcd-signals and etcd-fenced.
- **no_double_grant on postgres-lease**: its clock is stepped past the end of A's lease, and B is granted it. Fencing keeps the data right all the same.
- **lost_reply_retry_safe on postgres-lease**: a lease is taken anew only when it is over, also by its own holder.
- **postgres-advisory**: there is no lease that could run out (lease_fits_pauses does not arise), so that a paused holder keeps the lock, and one whose machine has fallen silent keeps it until TCP gives up, two hours by default (recovers_after_crash). What needs the end of a lease is empty.
- **no_double_grant and tokens_increasing on redis-sentinel**: the old master, on the smaller side of a partition, goes on granting, and the one that is promoted on the other grants too, with the same number. A master that is killed and started again at once, before a Sentinel counts it as down, comes back empty, and its replicas copy that.
- **consensus_backed on redis-sentinel**: the Sentinels agree on who is master, by a quorum; what the master knew is not part of what they agree on. When the master was cut off or killed the lock had mostly reached a replica, and was kept: that is luck, and no promise.
- **fencing_enforced and partitions_tested on redis-sentinel**: its plan leaves the five steps and the holder's cut out, which redis-single has; a lease that outlasts a failover makes them long.
- **wall_clock_independent on nats-3**: the servers' clocks are set back, and the lease of a dead A goes on until they are right again. Set ahead they end no lease early: it is ended by a timer that was set when the key was written.
- **tokens_increasing and lost_reply_retry_safe on nats-3**: a failover of NATS takes longer than this lab's lease, and an acquire takes one request or two, as long as the mark of a release is there: what the loss of a reply does then is a matter of chance.
- **no_double_grant on redlock-5**: three of five grant while A does not reach the others for a moment; one of the three is killed and started again at once, with its keys forgotten, and B has a majority too. The clocks of three that jump ahead do the same, and no setting helps.
- **tokens_increasing and fencing_enforced on redlock-5**: Redlock's value is random. It says whose a hold is, and not which is later.
- **lease_fits_pauses on redlock-5**: the library waits for each server for a twentieth of the lease, ten times what Redis' documentation has.
- **partitions_tested on redlock-5**: parted in five shapes the lock was granted on one side at most; the holder that was cut off wrote late, and nobody refused it.
- **effects_happen_once and recovers_after_crash on redlock-5**: the double execution did not come about; lost updates and dead holders are redis-single's.
- **notices_loss on zookeeper-3**: its client has ` + "`local_expiry`" + `, and stops a session timeout after the leader last answered it. One that waits for Curator's LOST believes on for up to two thirds of a timeout more; one that stops at SUSPENDED does not.
- **no_double_grant on zookeeper-3**: its sessions (3 s) outlast the time for which a follower that is cut off from the leader serves its clients (syncLimit × tickTime, 2.5 s). With shorter ones a client may be told by such a follower that it is connected when the leader has let its session expire.
- **recovers_after_crash and notices_loss on split-store**: B never waits for A's lease, because it asks another store; neither question can be asked there.
`)
	return b.String()
}
