package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lockaudit/lockaudit/lab"
)

// demoAge bounds the life of a lab that a demo raised and could not take down.
const demoAge = 30 * time.Minute

func newDemo(base *string) *cobra.Command {
	d := demo{}
	cmd := &cobra.Command{
		Use:   "demo [LAB…]",
		Short: "Raise labs, audit them, compare the grades with the right ones",
		Long: `Raise the labs (those of the tour, or those named; locklab list has more), audit each with the lockaudit beside
this program, print the reports, and compare every grade with the lab's known
right one. To be quick each probe is tried once only, unless --trials says otherwise. The
labs that the demo raised are taken down at its end, also on
ctrl-C. The exit status is 0 only if every grade was the right one.`,
		Example: "  locklab demo\n  locklab demo etcd-unfenced --trials 3",
		RunE: func(cmd *cobra.Command, names []string) error {
			d.base, d.out, d.err = *base, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return d.run(cmd.Context(), names)
		},
	}
	cmd.Flags().StringVar(&d.runs, "runs", "runs", "directory for the records")
	cmd.Flags().IntVar(&d.trials, "trials", 1, "trials per probe, to be quick (0: lockaudit's own number, 3)")
	return cmd
}

type demo struct {
	base, runs string
	trials     int
	lockaudit  string
	out, err   io.Writer
}

func (d *demo) run(ctx context.Context, names []string) error {
	labs, err := d.choose(names)
	if err != nil {
		return err
	}
	if d.lockaudit, err = sibling("lockaudit"); err != nil {
		return err
	}
	// Agents start in other directories.
	if d.runs, err = filepath.Abs(d.runs); err != nil {
		return fmt.Errorf("find records: %w", err)
	}
	start := time.Now()
	board := newBoard(d.err, labs)
	results := make([]chan result, len(labs))
	for i, l := range labs {
		results[i] = make(chan result, 1)
		go func() { results[i] <- d.audit(ctx, l, func(step string) { board.set(l.Name, step) }) }()
	}
	var all []result
	for i := range labs {
		r := <-results[i]
		board.print(func() { r.print(d.out, d.err) })
		all = append(all, r)
	}
	board.close()
	err = d.summary(all, time.Since(start))
	return errors.Join(err, d.repair(ctx, all))
}

// choose returns the labs to audit: those named, or all of the tour that this machine
// can raise.
func (d *demo) choose(names []string) ([]lab.Lab, error) {
	var labs []lab.Lab
	for _, name := range names {
		l, err := lab.Find(name)
		if err != nil {
			return nil, err
		}
		labs = append(labs, l)
	}
	if len(names) > 0 {
		return labs, nil
	}
	for _, l := range lab.All() {
		if l.Extra {
			continue
		}
		if _, err := l.Backend.Program(); err != nil {
			fmt.Fprintf(d.err, "%s is left out: %v\n", l.Name, err)
			continue
		}
		labs = append(labs, l)
	}
	return labs, nil
}

// sibling finds a program beside this one.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if unix.Access(path, unix.X_OK) != nil {
		return "", lab.Hint(fmt.Errorf("find %s: %w", path, lab.ErrMissing), "build all programs into one directory: make build")
	}
	return path, nil
}

// summary compares the grades with the right ones.
func (d *demo) summary(all []result, took time.Duration) error {
	fmt.Fprintln(d.out)
	w := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "LAB\tGRADE\tRIGHT GRADE\tRESULT")
	wrong := 0
	for _, r := range all {
		verdict := "as it should be"
		if err := r.wrong(); err != nil {
			verdict = err.Error()
			wrong++
		}
		letter := r.letter
		if letter == "" {
			letter = "none"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.lab.Name, letter, r.lab.Letter, verdict)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print summary: %w", err)
	}
	fmt.Fprintf(d.out, "\n%d labs in %.0f s; records in %s\n", len(all), took.Seconds(), d.runs)
	if wrong > 0 {
		return fmt.Errorf("compare grades: %d of %d labs did not get the right one", wrong, len(all))
	}
	return nil
}

// wrong says what differs from the lab's right verdict.
func (r result) wrong() error {
	switch {
	case r.err != nil:
		return errors.New("not audited")
	case r.letter != r.lab.Letter:
		return errors.New("WRONG GRADE")
	case r.exit != r.lab.Exit:
		return fmt.Errorf("WRONG EXIT STATUS %d, not %d", r.exit, r.lab.Exit)
	}
	return nil
}
