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

	"github.com/lockaudit/lockaudit/lab"
)

// downTimeout bounds how long a lab may take to go down.
const downTimeout = 20 * time.Second

func newList(base *string) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the labs and what each teaches",
		Example: "  locklab list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "LAB\tSTATE\tRIGHT GRADE\tTEACHES")
			for _, l := range lab.Everything() {
				state := "down"
				if lab.IsUp(*base, l) {
					state = "up"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Name, state, l.Letter, l.Teaches)
			}
			return w.Flush()
		},
	}
}

func newUp(base *string) *cobra.Command {
	var maxAge time.Duration
	cmd := &cobra.Command{
		Use:   "up LAB",
		Short: "Raise a lab and write its plan file",
		Long: `Raise a lab and write its plan file. The command returns once every server of the
lab does its work; the lab stays until "locklab down" or for --max-age. If the
lab is up already and healthy, nothing is changed.`,
		Example: "  locklab up etcd-fenced\n  locklab up --max-age 30m redis-single",
		Args:    oneLab,
		RunE: func(cmd *cobra.Command, a []string) error {
			l, err := lab.Find(a[0])
			if err != nil {
				return err
			}
			if maxAge <= 0 {
				return usage{fmt.Errorf("up: --max-age %s: a time that is over, the lab would end at once", maxAge)}
			}
			start := time.Now()
			progress := func(step string) { fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", l.Name, step) }
			plan, fresh, err := lab.Up(cmd.Context(), l, lab.UpOptions{Base: *base, MaxAge: maxAge, Progress: progress})
			if err != nil {
				return err
			}
			if fresh {
				progress(fmt.Sprintf("up after %.1f s", time.Since(start).Seconds()))
			} else {
				progress("already up and healthy")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "plan: %s\nnext: lockaudit audit %s\n", plan, plan)
			return nil
		},
	}
	cmd.Flags().DurationVar(&maxAge, "max-age", lab.MaxAge, "the lab ends by itself after this time")
	return cmd
}

func newDown(base *string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "down LAB | --all",
		Short:   "Take a lab down; nothing of it is left",
		Example: "  locklab down etcd-fenced\n  locklab down --all",
		Args: func(cmd *cobra.Command, a []string) error {
			if all {
				return args(cobra.NoArgs)(cmd, a)
			}
			return oneLab(cmd, a)
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			labs := lab.Everything()
			if !all {
				l, err := lab.Find(a[0])
				if err != nil {
					return err
				}
				labs = []lab.Lab{l}
			}
			var errs []error
			for _, l := range labs {
				found, err := down(cmd.Context(), *base, l)
				switch {
				case err != nil:
					errs = append(errs, err)
				case found:
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: down\n", l.Name)
				case !all:
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: was not up\n", l.Name)
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every lab of this user")
	return cmd
}

// down takes a lab down, also when the user is in a hurry.
func down(ctx context.Context, base string, l lab.Lab) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	return lab.Down(ctx, base, l)
}

func newExec(base *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec LAB NODE -- COMMAND [ARG…]",
		Short: "Run a program on a node of a lab",
		Long: `Run a program in the network namespace of a node, with this terminal or these
pipes as its stdin, stdout and stderr, and exit with its status. On ctrl-C, or
when locklab itself is killed, the program gets SIGTERM and 10 s later SIGKILL.
The directory of locklab comes first on the program's PATH.`,
		Example: "  locklab exec etcd-fenced app-a -- ip address\n  locklab exec redis-single app-a -- redis-cli -h 10.77.0.11",
		Args: func(_ *cobra.Command, a []string) error {
			if len(a) < 3 || (a[2] == "--" && len(a) < 4) {
				return usage{errors.New("exec: want a lab, a node and a command")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			l, err := lab.Find(a[0])
			if err != nil {
				return err
			}
			argv := a[2:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			code, err := lab.Exec(cmd.Context(), *base, l, lab.Command{
				Node: a[1], Argv: argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
			})
			if err != nil || code == 0 {
				return err
			}
			return status(code)
		},
	}
	// The flags behind the lab are the program's.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newPlan(base *string) *cobra.Command {
	var onlyPath bool
	cmd := &cobra.Command{
		Use:     "plan LAB",
		Short:   "Print the plan file of a lab that is up",
		Example: "  locklab plan etcd-fenced\n  lockaudit plan $(locklab plan --path etcd-fenced)",
		Args:    oneLab,
		RunE: func(cmd *cobra.Command, a []string) error {
			l, err := lab.Find(a[0])
			if err != nil {
				return err
			}
			path, err := lab.Plan(*base, l)
			if err != nil {
				return err
			}
			if onlyPath {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), path)
				return err
			}
			file, err := os.Open(filepath.Clean(path))
			if err != nil {
				return fmt.Errorf("open plan: %w", err)
			}
			defer func() { _ = file.Close() }()
			_, err = io.Copy(cmd.OutOrStdout(), file)
			return err
		},
	}
	cmd.Flags().BoolVar(&onlyPath, "path", false, "print the file's path instead")
	return cmd
}
