// Command bench measures what the project promises and prints one table of
// medians and 99th percentiles, each figure beside its alternative in the same run.
//
//	go run ./bench                 everything, some minutes: one of them is a whole audit
//	go run ./bench -run pause -n 3 what matches, with three times the samples
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/olekukonko/tablewriter"
)

// figure is something measured; n scales its default number of samples.
type figure struct {
	name string
	run  func(ctx context.Context, n int) ([]row, error)
}

// row is one line of the table: a figure or its alternative.
type row struct {
	what   string
	target string // what is promised; "" for an alternative
	values []float64
	unit   string
}

// figures is the list; append to it.
func figures() []figure {
	return []figure{
		{"pause/order", pauseOrder},
		{"pause/length", pauseLength},
		{"pause/length-busy", pauseLengthBusy},
		{"pause/kill-both", killBoth},
		{"pause/tree", pauseTree},
		{"partition/order", partitionOrder},
		{"partition/ends", partitionEnds},
		{"partition/cost", partitionCost},
		{"crash/ends", crashEnds},
		{"clock/read", clockRead},
		{"clock/stop", clockStop},
		{"clock/change", clockChange},
		{"node-clock/residual", nodeClockResidual},
		{"agent/size", agentSize},
		{"agent/rest", atRest},
		{"heal/kinds", healKinds},
		{"five-steps", fiveSteps},
		{"full-audit", fullAudit},
		{"checker", checker},
	}
}

func main() {
	if role := os.Getenv(benchRole); role != "" {
		playRole(role)
		return
	}
	pattern := flag.String("run", "", "run only the figures that match this regular expression")
	n := flag.Int("n", 1, "multiply the number of samples")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *pattern, max(*n, 1)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, pattern string, n int) error {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("parse -run: %w", err)
	}
	start := time.Now()
	table := tablewriter.NewTable(os.Stdout)
	table.Header("figure", "measured", "n", "median", "p99", "unit", "promised")
	for _, f := range figures() {
		if !match.MatchString(f.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", f.name)
		rows, err := f.run(ctx, n)
		if err != nil {
			return fmt.Errorf("measure %s: %w", f.name, err)
		}
		for _, r := range rows {
			if err := table.Append(f.name, r.what, strconv.Itoa(len(r.values)), number(quantile(r.values, 0.5)), number(quantile(r.values, 0.99)), r.unit, r.target); err != nil {
				return err
			}
		}
	}
	if err := table.Render(); err != nil {
		return err
	}
	fmt.Printf("%d cores, %s, %v\n", runtime.NumCPU(), runtime.Version(), time.Since(start).Round(time.Second))
	return nil
}

// quantile is the smallest value that at least q of the values do not exceed.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(q * float64(len(sorted)))
	if float64(i) < q*float64(len(sorted)) {
		i++
	}
	return sorted[max(i-1, 0)]
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
