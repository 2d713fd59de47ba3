// Command tests runs the tests that need virtual machines, one after the other, says
// how far it has come and sums up; several times, to see how stable they are.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

const usage = `usage: tests [-runs N] [-run REGEXP] [-until HH:MM] PACKAGE...

Builds the static test binaries of the packages and runs each of their tests ^TestVM on
its own. What a failed one said is printed at once.

Examples:
  go run ./lab/vm/tests ./lab/vm ./inject/nodeclock
  nice go run ./lab/vm/tests -runs 20 -run Clock ./inject/nodeclock
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("tests", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	runs := flags.Int("runs", 1, "")
	which := flags.String("run", "", "")
	until := flags.String("until", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 || *runs < 1 {
		if !errors.Is(err, flag.ErrHelp) {
			flags.Usage()
		}
		return 64
	}
	tests, err := prepare(ctx, flags.Args(), *which)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(tests.dir) }()
	start := time.Now()
	for i := range *runs {
		if i > 0 && *until != "" && time.Now().Format("15:04") >= *until {
			break
		}
		if *runs > 1 {
			fmt.Printf("run %d of %d\n", i+1, *runs)
		}
		for n, t := range tests.all {
			if ctx.Err() != nil {
				break
			}
			r := t.run(ctx)
			t.results = append(t.results, r)
			fmt.Printf("[%d/%d] %s\n", n+1, len(tests.all), t.line(r))
			if !r.ok {
				fmt.Println(r.output)
			}
		}
	}
	fmt.Print(tests.summary(time.Since(start)))
	if ctx.Err() != nil || !tests.passed() {
		return 1
	}
	return 0
}

// cases are the leaves and branches below a test, by their lines in its output.
var cases = regexp.MustCompile(`(?m)^ +--- PASS: `)
