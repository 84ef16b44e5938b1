package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store"
)

// Reconcile makes what is match what must be; the controller calls it periodically. It serves recovery points that
// could not be served, and holds machines of former owners: one that runs at its old site, or could be started there,
// after the group was failed over is a split brain, which is stopped, held and reported, never merged or overwritten.
func (r *Recovery) Reconcile(ctx context.Context) error {
	errs := []error{r.exports.restore(ctx)}
	fences, err := r.o.Store.Fences(ctx, "")
	errs = append(errs, err)
	bySite := map[string][]store.Fence{}
	for _, f := range fences {
		prot, err := r.o.Store.Protection(ctx, f.Group)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		switch prot.State {
		case dr.StateFailover, dr.StateFailoverFailed, dr.StateFailedOver, dr.StateCommitted:
			bySite[f.Site] = append(bySite[f.Site], f)
		}
	}
	for name, list := range bySite {
		errs = append(errs, r.reconcileSite(ctx, name, list))
	}
	return errors.Join(errs...)
}

// reconcileSite looks at a former owner. A site that does not answer is no error: it is what failovers are for.
func (r *Recovery) reconcileSite(ctx context.Context, name string, fences []store.Fence) error {
	ctx, stop := context.WithTimeout(ctx, r.o.SiteTimeout)
	defer stop()
	d, err := r.o.Sites(ctx, name)
	if err != nil {
		return nil
	}
	machines, err := d.Machines(ctx)
	if err != nil {
		return nil
	}
	var errs []error
	for _, f := range fences {
		i := slices.IndexFunc(machines, func(m dr.Machine) bool { return m.Name == f.Machine })
		if i < 0 {
			continue
		}
		power := machines[i].Power
		live := power == dr.PowerOn || power == dr.PowerPaused
		var held error
		if live || f.HeldAt.IsZero() {
			held = d.Fence(ctx, f.Machine, true, f.Reason)
			errs = append(errs, r.returned(ctx, f, power, held))
			continue
		}
		if f.Power != power {
			errs = append(errs, r.seen(ctx, f, power))
		}
	}
	return errors.Join(errs...)
}

func (r *Recovery) seen(ctx context.Context, f store.Fence, power dr.Power) error {
	_, err := r.o.Store.ChangeFence(ctx, f.Site, f.Machine, func(f *store.Fence) error {
		f.Seen, f.Power = r.o.Now().UTC(), power
		return nil
	})
	return err
}

// returned records a machine that came back at the former owner, and whether it could be held.
func (r *Recovery) returned(ctx context.Context, f store.Fence, power dr.Power, held error) error {
	ctx = context.WithoutCancel(ctx)
	now := r.o.Now().UTC()
	first := f.SplitBrain.IsZero() || held != nil && f.Error != held.Error() || held == nil && f.Error != ""
	_, err := r.o.Store.ChangeFence(ctx, f.Site, f.Machine, func(f *store.Fence) error {
		f.Seen, f.Power = now, power
		if f.SplitBrain.IsZero() {
			f.SplitBrain = now
		}
		f.Error = ""
		if held == nil {
			f.HeldAt = now
			return nil
		}
		f.Error = held.Error()
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := r.Apply(ctx, f.Group, dr.OpSourceReturned); err != nil {
		return err
	}
	if !first {
		return nil
	}
	message := fmt.Sprintf("split brain: %s was found %s at former site %s after %s was failed over", f.Machine, power, f.Site, f.Group)
	if held == nil {
		message += "; it was stopped and is held"
	} else {
		message += "; it could not be held: " + held.Error()
	}
	r.o.Logger.Warn(message, "group", f.Group, "site", f.Site, "machine", f.Machine)
	r.event(ctx, "split-brain", store.Run{ID: f.Run, Group: f.Group}, message)
	return nil
}

// Resolve records that a person gave up what the former owner's machines hold. They stay held.
func (r *Recovery) Resolve(ctx context.Context, group string) error {
	fences, err := r.o.Store.Fences(ctx, group)
	if err != nil {
		return err
	}
	for _, f := range fences {
		if f.Error != "" {
			return dr.WithHint(fmt.Errorf("machine %s at %s is not held: %s", f.Machine, f.Site, f.Error), dr.KindConflict,
				"stop it at "+f.Site+" first")
		}
		if _, err := r.o.Store.ChangeFence(ctx, f.Site, f.Machine, func(f *store.Fence) error { f.SplitBrain = time.Time{}; return nil }); err != nil {
			return err
		}
	}
	_, err = r.Apply(ctx, group, dr.OpResolve)
	return err
}
