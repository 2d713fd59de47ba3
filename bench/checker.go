package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/lockaudit/lockaudit/history"
)

// checker measures the interval check against porcupine on the same kind of history:
// a million operations, and as many as porcupine can do in a comparable time.
func checker(ctx context.Context, n int) ([]row, error) {
	const million, few, clients = 1_000_000, 2_000, 50
	check := row{what: "double grants, 1 000 000 operations", target: "1000 ms", unit: "ms"}
	perOp := row{what: "the same, per operation", unit: "µs"}
	events := turns(million, clients)
	for range 5 * n {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		start := time.Now()
		if found := history.DoubleGrants(events, history.Options{OwnerCheck: true}); len(found) > 0 {
			return nil, fmt.Errorf("%d double grants found in a sound history", len(found))
		}
		took := time.Since(start)
		check.values = append(check.values, millis(took))
		perOp.values = append(perOp.values, millis(took)*1000/million)
	}
	other := row{what: "porcupine, 2 000 operations, per operation", unit: "µs"}
	ops := operations(turns(few, clients))
	for range 5 * n {
		start := time.Now()
		if porcupine.CheckOperationsTimeout(mutex(), ops, 10*time.Second) != porcupine.Ok {
			return nil, errors.New("porcupine does not explain a sound history in 10 s")
		}
		other.values = append(other.values, millis(time.Since(start))*1000/few)
	}
	return []row{check, perOp, other}, nil
}

// turns is a sound history of n operations in which all clients wait for the lock at
// once: each is granted it in turn, renews, releases, and waits again.
func turns(n, clients int) []history.Event {
	events := make([]history.Event, 0, 2*n)
	record := func(e history.Event) int {
		e.Seq = len(events) + 1
		e.At = time.Duration(e.Seq) * time.Microsecond
		events = append(events, e)
		return e.Seq
	}
	names, waiting := make([]string, clients), make([]int, clients)
	wait := func(i int) {
		waiting[i] = record(history.Event{Actor: names[i], Op: history.OpAcquire, Type: history.Invoke, Key: "key"})
	}
	for i := range names {
		names[i] = fmt.Sprintf("client-%d", i)
		wait(i)
	}
	lease := history.Grant{TTL: time.Second}
	for turn := 0; len(events) < 2*n; turn++ {
		i := turn % clients
		e := history.Event{Actor: names[i], Op: history.OpAcquire, Type: history.OK, Call: waiting[i], Key: "key", Grant: &lease}
		record(e)
		for _, op := range []history.Op{history.OpRenew, history.OpRelease} {
			e := history.Event{Actor: names[i], Op: op, Type: history.Invoke, Key: "key"}
			e.Call = record(e)
			e.Type = history.OK
			record(e)
		}
		wait(i)
	}
	return events
}

// mutex is the lock without leases, as porcupine is usually set up: its state is the
// name of the holder.
func mutex() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			call := input.(history.Event)
			switch call.Op {
			case history.OpAcquire:
				return state == "", call.Actor
			case history.OpRelease:
				return state == call.Actor, ""
			}
			return state == call.Actor, state
		},
	}
}

func operations(events []history.Event) []porcupine.Operation {
	var ops []porcupine.Operation
	for _, call := range history.Calls(events) {
		if call.Done != nil { // the clients that still wait at the end
			ops = append(ops, porcupine.Operation{Input: call.Invoke, Call: int64(call.Invoke.At), Return: int64(call.Done.At)})
		}
	}
	return ops
}
