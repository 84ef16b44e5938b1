package recovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/recovery/plan"
	"understudy/internal/site"
)

// bringUp creates the machines and starts them stage by stage, each healthy before the next, with the actions of the
// plan. It adds to res as it goes. A rehearsal's actions before and after everything are done here, too.
func (r *Recovery) bringUp(run *engine.Run, p Input, res *Result) error {
	if !p.goesLive() {
		if err := r.before(run, p, res); err != nil {
			return err
		}
	}
	if _, err := each(run, p.Machines, func(m dr.MachinePolicy) engine.Step[none] {
		return engine.Step[none]{Name: "create " + m.Name, Title: fmt.Sprintf("create %s at %s", p.as(m.Name), p.Target),
			Options: engine.StepOptions{Timeout: provisionTimeout, Retries: 2},
			Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
				return none{}, r.provision(ctx, p, m.Name)
			}}
	}); err != nil {
		return err
	}
	return r.startStages(run, p, res)
}

// startStages starts machines that exist, stage by stage. It adds to res as it goes.
func (r *Recovery) startStages(run *engine.Run, p Input, res *Result) error {
	for i, s := range p.stages() {
		err := r.perform(run, p, res, i+1, s.Before)
		if err == nil {
			err = r.startTogether(run, p, s.machines, res)
		}
		if err == nil {
			err = r.perform(run, p, res, i+1, s.After)
		}
		if err != nil {
			res.Healthy = time.Time{}
			return err
		}
	}
	up := res.Healthy
	for _, a := range res.Actions { // a plan may know more of health than probes do
		if a.Ended.After(up) {
			up = a.Ended
		}
	}
	res.RTO = seconds(up.Sub(p.Requested))
	if p.goesLive() {
		return nil // what follows is done when the group is known to run there
	}
	return r.after(run, p, res)
}

// startTogether starts machines at the same time and waits for their health.
func (r *Recovery) startTogether(run *engine.Run, p Input, machines []dr.MachinePolicy, res *Result) error {
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
	return err
}

// A stage is machines that start at the same time, with what is done around that.
type stage struct {
	plan.Stage
	machines []dr.MachinePolicy
}

// stages are those of the plan; without one, the orders of the machines.
func (p Input) stages() []stage {
	list := plan.Stages(p.Machines)
	if p.Plan != nil {
		list = p.Plan.Plan.Stages
	}
	out := make([]stage, len(list))
	for i, s := range list {
		out[i].Stage = s
		for _, m := range p.Machines {
			if slices.Contains(s.Machines, m.Name) {
				out[i].machines = append(out[i].machines, m)
			}
		}
		slices.SortFunc(out[i].machines, func(a, b dr.MachinePolicy) int { return cmp.Compare(a.Name, b.Name) })
	}
	return out
}

// orders are the machines in the order they start: each element starts, and is healthy, before the next.
func (p Input) orders() (out [][]dr.MachinePolicy) {
	for _, s := range p.stages() {
		if len(s.machines) > 0 {
			out = append(out, s.machines)
		}
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
