// Command locklab raises practice labs: real lock deployments in network
// namespaces of this machine, each with a known right verdict.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lockaudit/lockaudit/lab"
)

// Exit statuses.
const (
	exitFailure = 1
	exitUsage   = 64
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	// The first signal asks for an orderly end, a second one does not ask.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

// status is an error that is only an exit status: all has been said already.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usage is an error in how the command was called.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// run is the whole program but for its exit.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var code status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	report(os.Stderr, cmd, err)
	if errors.As(err, &usage{}) || errors.Is(err, lab.ErrUnknown) {
		return exitUsage
	}
	return exitFailure
}

// report prints an error, and advice if there is any.
func report(w io.Writer, cmd *cobra.Command, err error) {
	fmt.Fprintf(w, "locklab: %v\n", err)
	var advice interface{ Hint() string }
	switch {
	case errors.As(err, &advice):
		fmt.Fprintf(w, "hint: %s\n", advice.Hint())
	case errors.As(err, &usage{}) && cmd != nil:
		fmt.Fprintf(w, "hint: %s --help\n", cmd.CommandPath())
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "locklab",
		Short: "Practice labs for lockaudit: real lock deployments with a known right verdict",
		Long: `locklab raises practice labs on this machine: a real lock service, a protected
resource and two client nodes, each node in a network namespace of its own.
It works as root and as an unprivileged user. A lab ends completely with
"locklab down", when its keeper process dies, or after eight hours.

EXIT STATUS
  0 done · 1 failed · 64 wrong use · locklab exec: that of the program`,
		Example: `  locklab up etcd-unfenced
  lockaudit audit $(locklab plan --path etcd-unfenced)
  locklab down etcd-unfenced`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without this, a mistyped command is taken for an argument.
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	base := os.Getenv("LOCKLAB_DIR")
	if base == "" {
		base = lab.Base()
	}
	root.PersistentFlags().StringVar(&base, "dir", base, "directory for the labs' sockets, logs and plans (or LOCKLAB_DIR)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newList(&base), newUp(&base), newDown(&base), newExec(&base), newPlan(&base), newDemo(&base),
		newKeep(&base), newServe())
	return root
}

// args makes a wrong number of arguments an error of use.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return usage{err}
		}
		return nil
	}
}

// oneLab reads the single argument of a command as a lab's name.
func oneLab(cmd *cobra.Command, a []string) error {
	if len(a) == 1 {
		return nil
	}
	return usage{lab.Hint(fmt.Errorf("%s: want the name of one lab", cmd.Name()), "labs: "+strings.Join(lab.Names(), ", "))}
}
