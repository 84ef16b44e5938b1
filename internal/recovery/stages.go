package recovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
)

// bringUp creates the machines and starts them in order, each healthy before the next. It adds to res as it goes.
func (r *Recovery) bringUp(run *engine.Run, p Input, res *Result) error {
	if _, err := each(run, p.Machines, func(m dr.MachinePolicy) engine.Step[none] {
		return engine.Step[none]{Name: "create " + m.Name, Title: fmt.Sprintf("create %s at %s", p.as(m.Name), p.Target),
			Options: engine.StepOptions{Timeout: provisionTimeout, Retries: 2},
			Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
				return none{}, r.provision(ctx, p, m.Name)
			}}
	}); err != nil {
		return err
	}
	for _, machines := range p.orders() {
		started, err := each(run, machines, func(m dr.MachinePolicy) engine.Step[time.Time] {
			return engine.Step[time.Time]{Name: "start " + m.Name, Title: fmt.Sprintf("start %s at %s", p.as(m.Name), p.Target),
				Options: engine.StepOptions{Timeout: startTimeout, Retries: 1},
				Do: func(ctx context.Context, _ *engine.Progress) (time.Time, error) {
					at := r.o.Now().UTC()
					return at, r.withTarget(ctx, p, func(d site.Driver) error { return d.Power(ctx, p.as(m.Name), site.PowerStart) })
				}}
		})
		for i, m := range machines {
			if !started[i].IsZero() {
				res.Machines = append(res.Machines, MachineResult{Name: m.Name, As: p.as(m.Name), Started: started[i]})
			}
		}
		if err != nil {
			return err
		}
		done := res.Machines[len(res.Machines)-len(machines):]
		healthy, err := each(run, machines, func(m dr.MachinePolicy) engine.Step[time.Time] { return r.probe(p, m) })
		for i := range machines {
			if done[i].Healthy = healthy[i]; !healthy[i].IsZero() {
				done[i].RTO = seconds(healthy[i].Sub(p.Requested))
				if healthy[i].After(res.Healthy) {
					res.Healthy = healthy[i]
				}
			}
		}
		if err != nil {
			res.Healthy = time.Time{}
			return err
		}
	}
	res.RTO = seconds(res.Healthy.Sub(p.Requested))
	return nil
}

// orders are the machines in the order they start: each element starts, and is healthy, before the next.
func (p Input) orders() [][]dr.MachinePolicy {
	byOrder := map[int][]dr.MachinePolicy{}
	for _, m := range p.Machines {
		byOrder[m.Order] = append(byOrder[m.Order], m)
	}
	var out [][]dr.MachinePolicy
	for _, o := range slices.Sorted(maps.Keys(byOrder)) {
		slices.SortFunc(byOrder[o], func(a, b dr.MachinePolicy) int { return cmp.Compare(a.Name, b.Name) })
		out = append(out, byOrder[o])
	}
	return out
}

// waitTitle says what a probe waits for, and what is the matter when that does not come.
func waitTitle(p dr.Probe, machine string) (title, missing string) {
	switch p.Kind {
	case dr.ProbeTCP:
		return fmt.Sprintf("wait for %s to accept connections on port %d", machine, p.Port),
			fmt.Sprintf("does not accept connections on port %d", p.Port)
	case dr.ProbeHTTP:
		at := fmt.Sprintf("on port %d", p.Port)
		if strings.Trim(p.Path, "/") != "" {
			at += " at /" + strings.TrimPrefix(p.Path, "/")
		}
		return fmt.Sprintf("wait for %s to answer HTTP %s", machine, at), "does not answer HTTP " + at
	case dr.ProbeSerial:
		return fmt.Sprintf("wait for %q on the console of %s", p.Text, machine), fmt.Sprintf("does not say %q on its console", p.Text)
	case dr.ProbeAgent:
		return fmt.Sprintf("wait for the guest agent of %s to answer", machine), "has no guest agent that answers"
	}
	return fmt.Sprintf("wait until %s runs", machine), "does not run"
}

func (r *Recovery) probe(p Input, m dr.MachinePolicy) engine.Step[time.Time] {
	title, missing := waitTitle(m.Probe, p.as(m.Name))
	return engine.Step[time.Time]{Name: "probe " + m.Name, Title: title,
		Options: engine.StepOptions{Timeout: cmp.Or(m.Probe.Timeout, probeTimeout)},
		Do: func(ctx context.Context, _ *engine.Progress) (time.Time, error) {
			err := r.withTarget(ctx, p, func(d site.Driver) error { return d.Probe(ctx, p.as(m.Name), m.Probe) })
			if err != nil {
				return time.Time{}, dr.WithHint(fmt.Errorf("machine %s is not healthy: it %s: %w", p.as(m.Name), missing, err), dr.KindOf(err),
					"look at its console at site "+p.Target+", then: understudy cleanup "+p.Group)
			}
			return r.o.Now().UTC(), nil
		}}
}
