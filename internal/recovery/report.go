package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"understudy/internal/recovery/drill"
	"understudy/internal/store"
)

// Report gathers all that is known of a run, with its evidence. The run may be of any kind and need not have ended.
func (r *Recovery) Report(ctx context.Context, id string) (drill.Report, error) {
	run, steps, err := r.Run(ctx, id)
	if err != nil {
		return drill.Report{}, err
	}
	var p Input
	var res Result
	if err := json.Unmarshal(run.Input, &p); err != nil {
		return drill.Report{}, fmt.Errorf("report on run %s: read its input: %w", run.ID, err)
	}
	if len(run.Result) > 0 {
		if err := json.Unmarshal(run.Result, &res); err != nil {
			return drill.Report{}, fmt.Errorf("report on run %s: read its result: %w", run.ID, err)
		}
	}
	events, err := r.o.Store.Events(ctx, store.EventFilter{Run: run.ID})
	if err != nil {
		return drill.Report{}, err
	}
	out := drill.Report{
		Generated: r.o.Now().UTC(),
		Run:       run.ID, Kind: run.Kind, Group: run.Group, State: string(run.State), Error: run.Error, Hint: run.Hint,
		By: run.By, Requested: run.Requested, Started: run.Started, Ended: run.Ended,
		Source: p.Source, Target: p.Target, Vault: p.Vault, Point: res.Point, PointTime: res.PointTime,
		RPO: float64(res.RPO), RTO: float64(res.RTO), Healthy: res.Healthy, Extensions: res.Extensions,
	}
	if strings.Contains(out.Hint, "understudy run report "+run.ID) {
		out.Hint = "" // here it is
	}
	if p.Plan != nil {
		out.Plan = fmt.Sprintf("%s, version %d", p.Plan.Name, p.Plan.Version)
	}
	if p.failsOver() {
		out.Machines = reportMachines(p, res)
	}
	if d := res.Drill; d != nil {
		out.Due = p.due()
		out.Cleaned, out.Kept = d.Cleaned, d.Kept
		if d.Lag.Samples > 0 {
			out.Lag = &d.Lag
		}
		out.Evidence = r.archive().Load(run.ID, d.Evidence)
	}
	for _, a := range res.Actions {
		out.Actions = append(out.Actions, drill.Action{Name: a.Name, Kind: a.Kind, Outcome: string(a.Outcome),
			Seconds: max(0, a.Ended.Sub(a.Started).Seconds()), Note: cmp.Or(a.Error, a.Note)})
	}
	for _, s := range steps {
		out.Steps = append(out.Steps, drill.Step{Title: cmp.Or(s.Title, s.Name), State: string(s.State), Started: s.Started, Ended: s.Ended,
			Attempts: s.Attempts, Message: s.Message, Error: s.Error})
	}
	for _, e := range events {
		out.Events = append(out.Events, drill.Event{Time: e.Time, Kind: e.Kind, Message: e.Message})
	}
	out.Complete()
	return out, nil
}

// reportMachines are the machines of a run in the order they start, whether they came up or not.
func reportMachines(p Input, res Result) (out []drill.Machine) {
	for order, machines := range p.orders() {
		for _, m := range machines {
			v := drill.Machine{Name: m.Name, As: p.as(m.Name), Order: order + 1, Probe: drill.ProbeText(m.Probe)}
			for _, came := range res.Machines {
				if came.Name == m.Name {
					v.Started, v.Healthy, v.RTO = came.Started, came.Healthy, float64(came.RTO)
				}
			}
			if res.Drill != nil {
				for i, c := range res.Drill.Checks {
					if c.Machine == m.Name {
						v.Check = &res.Drill.Checks[i]
					}
				}
			}
			out = append(out, v)
		}
	}
	return out
}

// Evidence returns a file that a run left.
func (r *Recovery) Evidence(ctx context.Context, id, file string) ([]byte, error) {
	run, err := r.o.Store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.archive().Get(run.ID, file)
}
