package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/survey"
	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
)

// initFlags are the flags of init.
type initFlags struct {
	output   string
	force    bool
	json     bool
	key      string
	prefix   string
	limit    int
	watch    time.Duration
	password string
	tls      locks.TLS
}

func initCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init URL",
		Short: "Write a plan from a live lock service, by looking only",
		Long: `Connects to a lock service from this machine, reads its topology, looks for keys
that may be locks, watches those for a while, and writes a commented plan, which
lockaudit plan and lockaudit inspect accept as it is. It writes nothing to the
service and takes no lock; docs/guides/first-look.md has the few rights that it
needs. Keys are read page by page, up to --limit; KEYS is never used.

The password comes from the environment variable ` + defaultPasswordVar + `, and
the plan names the variable, never the password. Whoever holds the value of a
lock can release it, so that no value is printed or kept.

Exit status:
  0   the plan is written
  2   the plan is written, but no lock was seen: it names a key that you replace
  3   the service could not be looked at, or the plan could not be written
  64  the command line is wrong`,
		Example: `  lockaudit init redis://10.0.0.1:6379
  lockaudit init etcd://10.0.0.1:2379 --prefix /locks/ -o billing.yaml
  lockaudit init redis+sentinel://10.0.0.1,10.0.0.2,10.0.0.3/mymaster
  ` + defaultPasswordVar + `=… lockaudit init postgres://lockaudit@10.0.0.1/billing
  ` + defaultPasswordVar + `=… lockaudit init etcds://lockaudit@10.0.0.1:2379 --ca ca.pem
  lockaudit init redis://10.0.0.1 --json -o - > findings.json`,
		Args: exactly(1, "URL"),
		RunE: func(cmd *cobra.Command, args []string) error { return runInit(cmd, args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "plan.yaml", "file to write; - is stdout, and with --json writes none")
	flags.BoolVar(&f.force, "force", false, "replace the file if it is there")
	flags.BoolVar(&f.json, "json", false, "print what was found as JSON on stdout")
	flags.StringVar(&f.key, "key", "", "the lock's key, if it is known: no other is looked at")
	flags.StringVar(&f.prefix, "prefix", "", "look only at keys that begin with this")
	flags.IntVar(&f.limit, "limit", 10_000, "look at this many keys at most")
	flags.DurationVar(&f.watch, "watch", 10*time.Second, "how long keys that may be locks are watched, up to 10m")
	flags.StringVar(&f.password, "password-env", defaultPasswordVar, "environment variable that holds the password")
	flags.StringVar(&f.tls.CAFile, "ca", "", "certificate authority of the service, a PEM file")
	flags.StringVar(&f.tls.CertFile, "cert", "", "client certificate, a PEM file")
	flags.StringVar(&f.tls.KeyFile, "cert-key", "", "its key, a PEM file")
	flags.StringVar(&f.tls.ServerName, "server-name", "", "name in the service's certificate, if it is not the address")
	return cmd
}

func runInit(cmd *cobra.Command, url string, f initFlags) error {
	src, err := parseSource(url)
	if err != nil {
		return err
	}
	if err := f.check(&src); err != nil {
		return err
	}
	logging.Disable() // go-redis would write to stderr what it returns as well
	variable := src.password(f.password)
	live := newProgress(cmd.ErrOrStderr())
	found, err := look(cmd.Context(), src, f, live)
	live.stop()
	if err != nil {
		return couldNotRun(lookFailed(err, src))
	}
	found.Options = src.sentinelSecrets(found.Options)
	draft := plan.Draft{
		Backend: src.service.backend, Source: src.shown, When: time.Now(),
		Username: src.target.Username, PasswordFrom: variable, TLS: src.target.TLS, Key: f.key, Found: found,
	}
	if err := f.write(cmd, draft.Text()); err != nil {
		return couldNotRun(err)
	}
	if f.json {
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetIndent("", "  ")
		if err := out.Encode(found); err != nil {
			return couldNotRun(fmt.Errorf("print findings: %w", err))
		}
	}
	tellFound(cmd, src, f, draft)
	if len(found.Locks) == 0 {
		return exit{status: exitInconclusive}
	}
	return nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check refuses bad values, and a file that is there, before anything is connected.
func (f *initFlags) check(src *source) error {
	switch {
	case f.limit < 1 || f.limit > 10_000_000:
		return usage("--limit %d: 1 to 10000000 keys", f.limit)
	case f.watch < 0 || f.watch > 10*time.Minute:
		return usage("--watch %s: up to 10m", f.watch)
	case f.key != "" && f.prefix != "":
		return usage("--key and --prefix: one of them")
	case !variableName.MatchString(f.password):
		return usage("--password-env %q is not the name of a variable", f.password)
	case (f.tls.CertFile == "") != (f.tls.KeyFile == ""):
		return usage("--cert and --cert-key: both or none")
	case f.tls != locks.TLS{} && src.service.backend == "postgres":
		src.service.tls = true // on the same port, so that the scheme says nothing of it
	case f.tls != locks.TLS{} && !src.service.tls:
		return exit{exitUsage, hinted{fmt.Errorf("--ca, --cert and --server-name need TLS"), fmt.Sprintf("%s://… instead of %s://…", src.service.secure(), src.service.scheme)}}
	}
	if files := absolute(f.tls); src.service.tls && (files != nil || src.service.backend != "postgres") {
		src.target.TLS = files
	}
	if f.output == "-" || f.force {
		return nil
	}
	if _, err := os.Lstat(f.output); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = errors.New("it exists")
		}
		return couldNotRun(hinted{fmt.Errorf("write plan %s: %w", f.output, err), "--force replaces it, and -o names another"})
	}
	return nil
}

// absolute gives the files of TLS names that hold wherever lock clients are started;
// nil if none is named, which the scheme of the endpoints says enough about.
func absolute(t locks.TLS) *locks.TLS {
	if t == (locks.TLS{}) {
		return nil
	}
	for _, path := range []*string{&t.CAFile, &t.CertFile, &t.KeyFile} {
		if *path == "" {
			continue
		}
		if whole, err := filepath.Abs(*path); err == nil {
			*path = whole
		}
	}
	return &t
}

func look(ctx context.Context, src source, f initFlags, live *progress) (survey.Survey, error) {
	target := src.target
	o := survey.Options{Prefix: f.prefix, Key: f.key, Limit: f.limit, For: f.watch}
	last := ""
	o.Progress = func(step string, until time.Time) {
		if step != last {
			live.update(probes.Progress{Probe: "init", Step: step, Until: until})
		}
		last = step
	}
	return src.surveyor.Survey(ctx, target, o)
}

// write puts the plan where it was asked for. A file is there whole or not at all.
func (f *initFlags) write(cmd *cobra.Command, text string) error {
	if f.output == "-" {
		if f.json {
			return nil // stdout is for the findings
		}
		_, err := fmt.Fprint(cmd.OutOrStdout(), text)
		return err
	}
	dir := filepath.Dir(f.output)
	temp, err := os.CreateTemp(dir, ".lockaudit-plan-*")
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(text)
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	if f.force {
		err = os.Rename(temp.Name(), f.output)
	} else {
		err = os.Link(temp.Name(), f.output) // fails if somebody made it meanwhile
	}
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}
