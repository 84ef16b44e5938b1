package recovery

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// Start begins a run and returns it. What the state of the group forbids is dr.KindConflict with what is allowed.
func (r *Recovery) Start(ctx context.Context, q Request) (store.Run, error) {
	run, change, err := r.prepare(ctx, q)
	if err != nil {
		return store.Run{}, fmt.Errorf("%s %s: %w", q.Kind, q.about(), err)
	}
	if err := r.o.Store.CreateRun(ctx, run, change); err != nil {
		return store.Run{}, err
	}
	r.event(ctx, "run.started", run, fmt.Sprintf("%s of %s was asked for", run.Kind, cmp.Or(run.Group, run.About)))
	// From here on a restart starts it; the caller going away does not stop it.
	if err := r.engine.Start(context.WithoutCancel(ctx), run.ID, run.Kind, run.Input); err != nil {
		return run, err
	}
	return run, nil
}

// prepare makes the run of a request and the change of protection that goes with it.
func (r *Recovery) prepare(ctx context.Context, q Request) (store.Run, func(*store.Protection) error, error) {
	var random [4]byte
	rand.Read(random[:])
	now := r.o.Now().UTC()
	p := Input{Run: "r" + hex.EncodeToString(random[:]), Kind: q.Kind, Group: q.Group, Point: q.Point, Requested: now, FailedAt: q.FailedAt}
	k, ok := r.kinds[q.Kind]
	if !ok {
		return store.Run{}, nil, dr.WithHint(errors.New("no such kind of run"), dr.KindInvalid, "")
	}
	var prot store.Protection
	if !k.groupless {
		g, err := r.o.Store.Group(ctx, q.Group)
		if err != nil {
			return store.Run{}, nil, err
		}
		p.Source, p.Target, p.Vault, p.Machines, p.Paused = g.Site, g.Target, g.Vault, g.Machines, g.Paused
		if prot, err = r.o.Store.Protection(ctx, q.Group); err != nil {
			return store.Run{}, nil, err
		}
	}
	if p.Point == "" && p.failsOver() {
		p.Point = "latest"
	}
	if q.Plan != "" {
		var err error
		if p.Plan, err = r.planFor(ctx, q); err != nil {
			return store.Run{}, nil, err
		}
	}
	change, err := k.prepare(ctx, q, &p, prot)
	if err == nil {
		err = p.checkPlan()
	}
	if err == nil && p.failsOver() {
		if err = joinErrors([]error{p.validate(), r.checkTarget(ctx, p)}); err == nil {
			err = r.checkPoint(ctx, p)
		}
	}
	if err != nil {
		return store.Run{}, nil, err
	}
	allowed := func(s *store.Protection) error {
		if change == nil {
			return nil
		}
		return named(change(s), p.Group)
	}
	data, err := json.Marshal(p)
	return store.Run{ID: p.Run, Kind: p.Kind, Group: p.Group, Point: p.Point, State: store.RunPending, Requested: now, By: q.By, About: p.aboutMachine(), Input: data}, allowed, err
}

// checkTarget refuses a target where nothing can run.
func (r *Recovery) checkTarget(ctx context.Context, p Input) error {
	if r.o.CanRun == nil || p.Target == "" {
		return nil
	}
	return r.o.CanRun(ctx, p.Target)
}

// checkPoint refuses a recovery point that does not exist before there is a run. A vault that cannot be reached now is
// the run's affair.
func (r *Recovery) checkPoint(ctx context.Context, p Input) error {
	if p.Point == "latest" {
		return nil
	}
	v, err := r.o.Vaults(ctx, p.Vault)
	if err != nil {
		return nil
	}
	_, err = v.FindPoint(ctx, p.Group, p.Point)
	if kind := dr.KindOf(err); err != nil && (kind == dr.KindNotFound || kind == dr.KindInvalid) {
		return err
	}
	return nil
}
