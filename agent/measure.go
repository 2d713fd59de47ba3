package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lockaudit/lockaudit/measure"
)

// measurement is an order to look and change nothing; it needs no guard.
type measurement struct {
	Kind   measure.Kind    `json:"kind"`
	Params json.RawMessage `json:"params,omitempty"`
}

// Measure has the agent carry out one measurement on its node and decodes the
// answer into result. The agent gives it up when the connection ends.
func (c *Conn) Measure(ctx context.Context, kind measure.Kind, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("encode parameters of %s: %w", kind, err)
	}
	r, err := c.link.call(ctx, order{Op: opMeasure, Measure: &measurement{kind, raw}})
	if err != nil || len(r.Measured) == 0 {
		return c.wrap("measure "+string(kind), err)
	}
	if err := json.Unmarshal(r.Measured, result); err != nil {
		return fmt.Errorf("decode result of %s: %w", kind, err)
	}
	return nil
}
