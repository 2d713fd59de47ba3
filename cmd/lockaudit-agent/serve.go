package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"

	"github.com/coreos/go-systemd/v22/daemon"
)

// serve takes orders, and lets systemd know that it is alive where that started it.
func serve(ctx context.Context, in *os.File, out io.Writer, o agent.Options) error {
	if err := inject.NoteCaller(in); err != nil {
		return err
	}
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read watchdog: %w", err)
	}
	o.Pulse = agent.Pulse{
		Within: within,
		// Where nobody listens, nobody supervises.
		Beat: func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\n"+daemon.SdNotifyWatchdog) },
	}
	return agent.Serve(ctx, in, out, o)
}
