package probes

import (
	"context"
	"fmt"

	"github.com/lockaudit/lockaudit/history"
)

// effects marks from where on the application's writes count.
func (o *observed) effects(ctx context.Context) error {
	if o.t.Observe.Effects == "" {
		return nil
	}
	_, err := o.t.Stage.Effects(ctx)
	return err
}

// seen records the writes that were seen since the last look, and returns whose they
// were. A write was done at some time between the two looks.
func (o *observed) seen(ctx context.Context) (actors []string, err error) {
	effects, err := o.t.Stage.Effects(ctx)
	return o.record(effects), err
}

func (o *observed) record(effects []Effect) (actors []string) {
	for _, x := range effects {
		actor := o.actor(x.Instance)
		actors = append(actors, actor)
		e := history.Event{Actor: actor, Op: history.OpWrite, Type: history.Invoke, Row: o.t.RealKey, Case: caseObserved}
		e.Write = &history.Write{Token: x.Token, Value: x.Text, Seq: x.Seq}
		invoke := o.t.record(e)
		e.Type, e.Call = history.OK, invoke.Seq
		if x.Refused {
			e.Type, e.Code = history.Fail, history.CodeStale
		}
		o.t.record(e)
	}
	return actors
}

// caseObserved marks a write of the application: it is on no row of the audit's.
const caseObserved = "observed"

// actor names an instance in the history: the ones that were not met yet come after b.
func (o *observed) actor(id string) string {
	if id == "" {
		return "unknown"
	}
	if name, ok := o.actors[id]; ok {
		return name
	}
	o.others++
	o.actors[id] = fmt.Sprintf("instance-%d", o.others+2)
	return o.actors[id]
}
