package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"understudy/internal/dr"
	"understudy/internal/preflight"
	"understudy/internal/site"
)

// runName stands for the run in what is rehearsed: what a run makes has its name.
const runName = "RUN"

// A SiteCall is a request that a site's provider would get.
type SiteCall struct {
	Site string
	site.ProviderCall
}

func (l *callList) add(name string, calls []site.ProviderCall) {
	for _, c := range calls {
		*l = append(*l, SiteCall{Site: name, ProviderCall: c})
	}
}

type callList []SiteCall

// PreviewCalls says which requests a failover would send to providers that tell: to hold the machines of the source, and to
// make and start those of the target. Machines that are used again there are left out: what is sent for them depends on
// what differs.
func (r *Recovery) PreviewCalls(ctx context.Context, q Request) ([]SiteCall, error) {
	fail := func(err error) ([]SiteCall, error) {
		return nil, fmt.Errorf("requests of a %s of %s: %w", q.Kind, q.Group, err)
	}
	if !failsOver(q.Kind) {
		return fail(dr.WithHint(fmt.Errorf("a %s has no preview", q.Kind), dr.KindInvalid, ""))
	}
	run, _, err := r.prepare(ctx, q)
	if err != nil {
		return fail(err)
	}
	var p Input
	if err := json.Unmarshal(run.Input, &p); err != nil {
		return fail(err)
	}
	p.Run = runName
	var out callList
	if !rehearses(p.Kind) {
		if err := r.callsOfFence(ctx, p, &out); err != nil {
			return fail(err)
		}
	}
	d, err := r.o.Sites(ctx, p.Target)
	if err != nil {
		return fail(err)
	}
	target, ok := d.(site.Rehearser)
	if !ok {
		return out, nil
	}
	v, err := r.o.Vaults(ctx, p.Vault)
	if err != nil {
		return fail(err)
	}
	found, err := v.FindPoint(ctx, p.Group, p.Point)
	if err != nil {
		return fail(err)
	}
	point, err := v.OpenPoint(ctx, p.Group, found.ID)
	if err != nil {
		return fail(err)
	}
	machines := point.Machines()
	if err := point.Close(); err != nil {
		return fail(err)
	}
	for _, m := range p.Machines {
		i := slices.IndexFunc(machines, func(have dr.Machine) bool { return have.Name == m.Name })
		original, err := r.original(ctx, p, m.Name)
		if err != nil {
			return fail(err)
		}
		if i < 0 || original {
			continue
		}
		calls, err := target.RehearseProvision(ctx, p.provisionRequest(machines[i]), true)
		out.add(p.Target, calls)
		if err != nil {
			return fail(err)
		}
	}
	return out, nil
}

// callsOfFence adds what holds the machines of a source that can be reached.
func (r *Recovery) callsOfFence(ctx context.Context, p Input, out *callList) error {
	bounded, stop := context.WithTimeout(ctx, r.o.SiteTimeout)
	defer stop()
	d, err := r.o.Sites(bounded, p.Source)
	source, ok := d.(site.Rehearser)
	if err != nil || !ok {
		return ctx.Err() // a source that is lost gets no requests
	}
	for _, m := range p.Machines {
		calls, err := source.RehearseFence(bounded, m.Name)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && (dr.KindOf(err) == dr.KindUnavailable || dr.KindOf(err) == dr.KindNotFound || bounded.Err() != nil):
			continue
		case err != nil:
			return err
		}
		out.add(p.Source, calls)
	}
	return nil
}

// A ClonePreview says what a clone would do. Nothing is changed for it.
type ClonePreview struct {
	Made     dr.Machine // what would be made, before the site places it
	From, To string
	Point    string // whose disks are copied; empty for the machine as it is
	Direct   bool   // the cloud copies the disks itself
	Bytes    int64  // of disk
	Checks   []preflight.Check
	Calls    []SiteCall // to providers that tell
	Warnings []string
}

// PreviewClone says what a clone that is asked for would do.
func (r *Recovery) PreviewClone(ctx context.Context, q Request) (ClonePreview, error) {
	fail := func(err error) (ClonePreview, error) {
		return ClonePreview{}, fmt.Errorf("preview %s: %w", q.Kind, err)
	}
	if q.Kind != KindClone || q.Clone == nil {
		return fail(dr.WithHint(errors.New("only a clone has this preview"), dr.KindInvalid, ""))
	}
	run, _, err := r.prepare(ctx, q)
	if err != nil {
		return fail(err)
	}
	var p Input
	if err := json.Unmarshal(run.Input, &p); err != nil {
		return fail(err)
	}
	c := p.Clone
	c.Origin = runName
	m, err := r.lookAt(ctx, c)
	if err != nil {
		return fail(err)
	}
	provider := m.Provider
	if m, err = c.shape(m); err != nil {
		return fail(err)
	}
	m = apart(m)
	v := ClonePreview{Made: m, From: cmp.Or(c.Site, c.Group), To: c.To, Point: c.Point, Direct: c.Direct}
	for _, d := range m.Disks {
		v.Bytes += d.Size
	}
	to, err := r.o.Sites(ctx, c.To)
	if err != nil {
		return fail(err)
	}
	if here, ok := to.(site.Platformer); ok && provider != "" && here.Platform().Provider != provider {
		bounded, stop := context.WithTimeout(ctx, preflightTimeout)
		answer, err := r.Preflight(bounded, PreflightQuery{Group: c.Group, Point: c.Point, Site: c.Site, Machine: c.Machine, Target: c.To})
		stop()
		if v.Checks = answer.Checks; err != nil {
			v.Warnings = append(v.Warnings, fmt.Sprintf("the disks could not be looked into: %v", err))
		}
	}
	target, ok := to.(site.Rehearser)
	if !ok {
		return v, ctx.Err()
	}
	var calls []site.ProviderCall
	if c.Direct {
		from, err := r.o.Sites(ctx, c.Site)
		if err != nil {
			return fail(err)
		}
		calls, err = target.RehearseCopy(ctx, site.CopyRequest{From: from, Source: c.Machine, Machine: m, Set: c.machineSet(), Owner: c.Origin}, c.Start)
		if err != nil {
			return fail(err)
		}
	} else if calls, err = target.RehearseProvision(ctx, site.ProvisionRequest{Machine: m, Owner: c.Origin, Set: c.machineSet()}, c.Start); err != nil {
		return fail(err)
	}
	(*callList)(&v.Calls).add(c.To, calls)
	return v, nil
}
