package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
)

// Times that steps may take.
const (
	vaultTimeout     = 2 * time.Minute
	provisionTimeout = 10 * time.Minute
	startTimeout     = 2 * time.Minute
	probeTimeout     = 2 * time.Minute // when the probe has none
	deleteTimeout    = 5 * time.Minute
	hydrateStall     = 10 * time.Minute
	leaseTTL         = time.Minute
)

// none is the result of a step that has none.
type none = struct{}

// action is a step without a result.
func action(run *engine.Run, name, title string, o engine.StepOptions, do func(context.Context, *engine.Progress) error) error {
	_, err := engine.Do(run, engine.Step[none]{Name: name, Title: title, Options: o,
		Do: func(ctx context.Context, p *engine.Progress) (none, error) { return none{}, do(ctx, p) }})
	return err
}

// chosen is the recovery point that a run takes.
type chosen struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`
	Newest time.Time `json:"newest"` // the newest instant that the point is known to hold
}

func (c chosen) into(res *Result) { res.Point, res.PointTime = c.ID, c.Time }

// choose finds the point that was asked for and makes sure that it can be opened here.
func (r *Recovery) choose(run *engine.Run, p Plan, name, title string) (chosen, error) {
	return engine.Do(run, engine.Step[chosen]{Name: name, Title: title,
		Options: engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		Do: func(ctx context.Context, say *engine.Progress) (c chosen, err error) {
			v, err := r.o.Vaults(ctx, p.Vault)
			if err != nil {
				return c, err
			}
			found, err := v.FindPoint(ctx, p.Group, p.Point)
			if err != nil {
				return c, err
			}
			c = chosen{ID: found.ID, Time: found.Time, Newest: found.Time}
			// Cycles that found nothing changed leave no point, but tell how far the newest one holds.
			head, err := v.Head(ctx, p.Group)
			if err != nil {
				return c, err
			}
			if head.Point.ID == c.ID && head.Known.After(c.Newest) {
				c.Newest = head.Known
			}
			for _, m := range p.Machines {
				if !slices.Contains(found.Machines, m.Name) {
					return c, dr.WithHint(fmt.Errorf("point %s does not hold machine %s", c.ID, m.Name), dr.KindConflict,
						"choose a point made after the machine joined the group: understudy points list "+p.Group)
				}
			}
			if err := r.vacant(ctx, p); err != nil {
				return c, err
			}
			point, err := v.OpenPoint(ctx, p.Group, c.ID)
			if err != nil {
				return c, err
			}
			say.Say("point %s of %s", c.ID, c.Time.Format(time.RFC3339))
			return c, point.Close()
		}})
}

// vacant makes sure that the target answers and that the names of the machines are free there: what exists is somebody
// else's, and neither to be used nor, when this run is cleaned up, to be deleted. After a failover that is started over
// they are that one's.
func (r *Recovery) vacant(ctx context.Context, p Plan) error {
	d, err := r.o.Sites(ctx, p.Target)
	if err != nil {
		return err
	}
	there, err := d.Machines(ctx)
	if err != nil || p.Of != "" {
		return err
	}
	for _, m := range p.Machines {
		if slices.ContainsFunc(there, func(t dr.Machine) bool { return t.Name == p.as(m.Name) }) {
			return dr.WithHint(fmt.Errorf("machine %s exists at %s", p.as(m.Name), p.Target), dr.KindConflict,
				"rename or remove the machine at "+p.Target+": Understudy does not replace what it did not create")
		}
	}
	return nil
}

// serve begins to serve the disks of the point.
func (r *Recovery) serve(run *engine.Run, p Plan, c chosen) error {
	return action(run, "serve", "serve the disks of point "+c.ID, engine.StepOptions{Timeout: vaultTimeout, Retries: 3},
		func(ctx context.Context, say *engine.Progress) error {
			v, err := r.o.Vaults(ctx, p.Vault)
			if err != nil {
				return err
			}
			point, err := v.OpenPoint(ctx, p.Group, c.ID)
			if err != nil {
				return err
			}
			rows, err := r.exports.rows(p, c.ID, point.Machines())
			if err = errors.Join(err, point.Close()); err != nil {
				return err
			}
			if err := r.o.Store.PutExports(ctx, rows); err != nil {
				return err
			}
			say.Say("%d disks", len(rows))
			return r.exports.ensure(ctx, p.Run)
		})
}

// as is the name of a machine at the target.
func (p Plan) as(machine string) string {
	if p.Kind == KindTest {
		return machine + "-test-" + p.Run
	}
	return machine
}

// orders are the machines in the order they start: each element starts, and is healthy, before the next.
func (p Plan) orders() [][]dr.MachinePolicy {
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

// each does a step per machine at the same time.
func each[T any](run *engine.Run, machines []dr.MachinePolicy, step func(dr.MachinePolicy) engine.Step[T]) ([]T, error) {
	steps := make([]engine.Step[T], len(machines))
	for i, m := range machines {
		steps[i] = step(m)
	}
	values, errs := engine.Parallel(run, steps)
	if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, engine.ErrInterrupted) }) {
		return values, engine.ErrInterrupted
	}
	return values, joinErrors(errs)
}

// joinErrors keeps the kind and hint of the first error.
func joinErrors(errs []error) error {
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return dr.WithHint(errors.Join(errs...), dr.KindOf(errs[0]), dr.Hint(errs[0]))
}

// bringUp creates the machines and starts them in order, each healthy before the next. It adds to res as it goes.
func (r *Recovery) bringUp(run *engine.Run, p Plan, res *Result) error {
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

func (r *Recovery) withTarget(ctx context.Context, p Plan, f func(site.Driver) error) error {
	// Machines read from the exports from their first moment on.
	if err := r.exports.ensure(ctx, p.Run); err != nil {
		return err
	}
	d, err := r.o.Sites(ctx, p.Target)
	if err != nil {
		return err
	}
	return f(d)
}

func (r *Recovery) provision(ctx context.Context, p Plan, name string) error {
	return r.withTarget(ctx, p, func(d site.Driver) error {
		rows, err := r.o.Store.Exports(ctx, p.Run)
		if err != nil {
			return err
		}
		req := site.ProvisionRequest{Owner: p.Run, Sources: map[string]string{}}
		for _, m := range r.exports.of(p.Run).machines() {
			if m.Name == name {
				req.Machine = m
			}
		}
		for _, e := range rows {
			if e.Disk.Machine == name {
				req.Sources[e.Disk.Disk] = uri(e)
			}
		}
		req.Machine.Name, req.Machine.Power = p.as(name), ""
		if p.Kind == KindTest {
			req.Isolation = p.Run
			// The ports that production uses on this host are not the test's.
			req.Machine.NICs = slices.Clone(req.Machine.NICs)
			for i, n := range req.Machine.NICs {
				req.Machine.NICs[i].Forwards = slices.Clone(n.Forwards)
				for j := range n.Forwards {
					req.Machine.NICs[i].Forwards[j].HostPort = 0
				}
			}
		}
		return d.Provision(ctx, req)
	})
}

func (s *served) machines() []dr.Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.point == nil {
		return nil
	}
	return s.point.Machines()
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

func (r *Recovery) probe(p Plan, m dr.MachinePolicy) engine.Step[time.Time] {
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

// remove deletes what a run made at the target and stops serving it.
func (r *Recovery) remove(run *engine.Run, of Plan, prefix string) error {
	o := engine.StepOptions{Timeout: deleteTimeout, Retries: 3, Cleanup: true}
	if _, err := each(run, of.Machines, func(m dr.MachinePolicy) engine.Step[none] {
		return engine.Step[none]{Name: prefix + "delete " + m.Name, Title: fmt.Sprintf("delete %s at %s", of.as(m.Name), of.Target), Options: o,
			Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
				d, err := r.o.Sites(ctx, of.Target)
				if err != nil {
					return none{}, err
				}
				return none{}, d.Delete(ctx, of.as(m.Name))
			}}
	}); err != nil {
		return err
	}
	return r.stopServing(run, of.Run, prefix)
}

func (r *Recovery) stopServing(run *engine.Run, of, prefix string) error {
	return action(run, prefix+"stop serving", "stop serving the recovery point", engine.StepOptions{Timeout: time.Minute, Retries: 3, Cleanup: true},
		func(ctx context.Context, _ *engine.Progress) error { return r.exports.drop(ctx, of) })
}

// hydrate makes the machines that a run brought up independent of the vault.
func (r *Recovery) hydrate(run *engine.Run, of Plan, res *Result) error {
	done, err := each(run, of.Machines, func(m dr.MachinePolicy) engine.Step[time.Time] {
		// It is tried until it works: the machine runs meanwhile, but it needs the vault.
		return engine.Step[time.Time]{Name: "hydrate " + m.Name, Title: fmt.Sprintf("copy the disks of %s from the vault to %s", of.as(m.Name), of.Target),
			Options: engine.StepOptions{Stall: hydrateStall, Retries: 1 << 20, Backoff: time.Second},
			Do: func(ctx context.Context, p *engine.Progress) (time.Time, error) {
				err := r.withTarget(ctx, of, func(d site.Driver) error { return d.Hydrate(ctx, of.as(m.Name), p.Bytes) })
				return r.o.Now().UTC(), err
			}}
	})
	if err != nil {
		return err
	}
	if err := r.stopServing(run, of.Run, ""); err != nil {
		return err
	}
	for _, at := range done {
		if at.After(res.Independent) {
			res.Independent = at
		}
	}
	return nil
}

// keep saves the result so far.
func keep(run *store.Run, res *Result) error {
	data, err := json.Marshal(res)
	run.Result = data
	return err
}
