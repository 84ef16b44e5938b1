package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"understudy/internal/dr"
	"understudy/internal/site"
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
	groups, err := r.o.Store.Groups(ctx)
	errs = append(errs, err)
	sites := map[string]string{}
	for _, g := range groups {
		sites[g.Name] = g.Site
	}
	for _, f := range fences {
		prot, err := r.o.Store.Protection(ctx, f.Group)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if at, ok := sites[f.Group]; ok && mustNotRun(prot.State, f.Site, at) {
			bySite[f.Site] = append(bySite[f.Site], f)
		}
	}
	errs = append(errs, r.abandoned(ctx, sites))
	for name, list := range bySite {
		errs = append(errs, r.reconcileSite(ctx, name, list))
	}
	return errors.Join(errs...)
}

// mustNotRun reports whether what is held at a site must stay so, of a group whose machines run elsewhere as far as is
// recorded. While that is being changed, all that is held at either site must.
func mustNotRun(s dr.State, held, runsAt string) bool {
	switch s {
	case "", dr.StateDisabled, dr.StateEnabling, dr.StateEnablingFailed, dr.StateSeeding, dr.StateSeedingPaused, dr.StateSeedingFailed:
		return false
	case dr.StateFailover, dr.StateFailoverFailed, dr.StateResolving, dr.StateResolveFailed:
		return true
	}
	return held != runsAt
}

// abandoned lets go of what groups left behind that are no longer protected, at sites that could not be reached then.
func (r *Recovery) abandoned(ctx context.Context, groups map[string]string) error {
	rows, err := r.o.Store.Originals(ctx, "")
	if err != nil {
		return err
	}
	done := map[string]bool{}
	var errs []error
	for _, o := range rows {
		if _, ok := groups[o.Group]; !ok && !done[o.Group] {
			done[o.Group] = true
			errs = append(errs, r.Abandon(ctx, o.Group))
		}
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
		if live || f.HeldAt.IsZero() {
			still, held := r.holdStill(ctx, d, f)
			if still {
				errs = append(errs, r.returned(ctx, f, power, held))
			}
			continue
		}
		if f.Error != "" {
			// It was held before, and could not be when that was asked for again.
			still, held := r.holdStill(ctx, d, f)
			if !still || held != nil {
				errs = append(errs, held)
				continue
			}
		}
		if f.Power != power || f.Error != "" {
			errs = append(errs, r.seen(ctx, f, power))
		}
	}
	return errors.Join(errs...)
}

// holdStill holds a machine unless it was released since its fence was read.
func (r *Recovery) holdStill(ctx context.Context, d site.Driver, f store.Fence) (still bool, held error) {
	free, err := r.fencing.take(ctx, f.Site, f.Machine)
	if err != nil {
		return false, err
	}
	defer free()
	now, still, err := r.o.Store.Fence(ctx, f.Site, f.Machine)
	if err != nil || !still || now.Group != f.Group {
		return false, err
	}
	return true, d.Fence(ctx, f.Machine, true, f.Reason)
}

func (r *Recovery) seen(ctx context.Context, f store.Fence, power dr.Power) error {
	_, err := r.o.Store.ChangeFence(ctx, f.Site, f.Machine, func(f *store.Fence) error {
		f.Seen, f.Power, f.Error = r.o.Now().UTC(), power, ""
		return nil
	})
	return err
}

// strayed records that a machine that was left behind may have written to its disks.
func (r *Recovery) strayed(ctx context.Context, siteName, machine string) error {
	if _, ok, err := r.o.Store.Original(ctx, siteName, machine); err != nil || !ok {
		return err
	}
	_, err := r.o.Store.ChangeOriginal(ctx, siteName, machine, func(o *store.Original) error { o.Base, o.Toward = "", nil; return nil })
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
			f.HeldAt, f.Power = now, dr.PowerOff
			return nil
		}
		f.Error = held.Error()
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.strayed(ctx, f.Site, f.Machine); err != nil {
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
