package recovery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
)

func (r *Recovery) withTarget(ctx context.Context, p Input, f func(site.Driver) error) error {
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

func (r *Recovery) provision(ctx context.Context, p Input, name string) error {
	if original, err := r.original(ctx, p, name); err != nil || original {
		return err // it was brought to the point already
	}
	return r.withTarget(ctx, p, func(d site.Driver) error {
		rows, err := r.o.Store.Exports(ctx, p.Run)
		if err != nil {
			return err
		}
		var req site.ProvisionRequest
		for _, m := range r.exports.of(p.Run).machines() {
			if m.Name == name {
				req = p.provisionRequest(m)
			}
		}
		for _, e := range rows {
			if e.Disk.Machine == name {
				req.Sources[e.Disk.Disk] = uri(e)
			}
		}
		return d.Provision(ctx, req)
	})
}

// provisionRequest asks for a machine of a recovery point, as a run makes it.
func (p Input) provisionRequest(m dr.Machine) site.ProvisionRequest {
	req := site.ProvisionRequest{Machine: m, Owner: p.Run, Sources: map[string]string{}}
	req.Machine.Name, req.Machine.Power = p.as(m.Name), ""
	if rehearses(p.Kind) {
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
	return req
}

// original reports whether a machine of a run is one that the group had left at the target, so that it is neither
// created nor deleted.
func (r *Recovery) original(ctx context.Context, p Input, name string) (bool, error) {
	if rehearses(p.Kind) {
		return false, nil
	}
	o, ok, err := r.o.Store.Original(ctx, p.Target, name)
	return ok && o.Group == p.Group, err
}

func (s *served) machines() []dr.Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.point == nil {
		return nil
	}
	return s.point.Machines()
}

// remove deletes what a run made at the target and stops serving it. What was there before is held again.
func (r *Recovery) remove(run *engine.Run, of Input, prefix string) error {
	o := engine.StepOptions{Timeout: deleteTimeout, Retries: 3, Cleanup: true}
	if _, err := each(run, of.Machines, func(m dr.MachinePolicy) engine.Step[none] {
		return engine.Step[none]{Name: prefix + "delete " + m.Name, Title: fmt.Sprintf("delete %s at %s", of.as(m.Name), of.Target), Options: o,
			Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
				if original, err := r.original(ctx, of, m.Name); err != nil {
					return none{}, err
				} else if original {
					return none{}, r.holdAt(ctx, of, of.Target, m.Name)
				}
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

// hydrate makes the machines that a run brought up independent of the vault.
func (r *Recovery) hydrate(run *engine.Run, of Input, res *Result) error {
	done, err := each(run, of.Machines, func(m dr.MachinePolicy) engine.Step[time.Time] {
		// It is tried until it works, also in a run that was cancelled: the machine runs meanwhile, but it needs the vault.
		return engine.Step[time.Time]{Name: "hydrate " + m.Name, Title: fmt.Sprintf("copy the disks of %s from the vault to %s", of.as(m.Name), of.Target),
			Options: engine.StepOptions{Stall: hydrateStall, Retries: 1 << 20, Backoff: time.Second, Cleanup: true},
			Do: func(ctx context.Context, p *engine.Progress) (time.Time, error) {
				if original, err := r.original(ctx, of, m.Name); err != nil || original {
					return r.o.Now().UTC(), err
				}
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
