package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery/engine"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/transfer"
	"understudy/internal/vault"
)

// An original is a machine that a group left behind at a site, held. When the group goes back there it is brought to the
// recovery point by writing what differs, in place of a new machine.

// An OriginalResult says how an original was brought to a recovery point.
type OriginalResult struct {
	Machine string `json:"machine"`
	Site    string `json:"site"`
	Point   string `json:"point,omitempty"` // that its disks are at now
	// Why it could not be used or reached: then it is seen to when the group goes back.
	Reason string `json:"reason,omitempty"`
	// Base is the point that its disks were known to be at; when empty everything was compared.
	Base string `json:"base,omitempty"`
	transfer.Stats
}

// opens is what a site must be able to do with originals.
type opens interface {
	site.DiskOpener
	site.Preserver
}

// adopted are the machines of a group that stand ready at a site, held.
type adopted struct {
	Names []string `json:"names"`
}

func (a adopted) has(machine string) bool { return slices.Contains(a.Names, machine) }

// of are the policies of the machines.
func (a adopted) of(p Input) []dr.MachinePolicy {
	var out []dr.MachinePolicy
	for _, m := range p.Machines {
		if a.has(m.Name) {
			out = append(out, m)
		}
	}
	return out
}

// adopt looks which machines of the group the target has already: those that were left there when the group went away.
func (r *Recovery) adopt(run *engine.Run, p Input, prefix string) (adopted, error) {
	return engine.Do(run, engine.Step[adopted]{Name: prefix + "find originals", Title: fmt.Sprintf("look for the machines that %s left at %s", p.Group, p.Target),
		Options: engine.StepOptions{Timeout: r.o.SiteTimeout, Retries: 2},
		Do: func(ctx context.Context, say *engine.Progress) (found adopted, err error) {
			d, err := r.o.Sites(ctx, p.Target)
			if err != nil {
				return found, err
			}
			there, err := d.Machines(ctx)
			if err != nil {
				return found, err
			}
			for _, m := range p.Machines {
				if !slices.ContainsFunc(there, func(t dr.Machine) bool { return t.Name == m.Name }) {
					if err := r.o.Store.DeleteOriginal(ctx, p.Target, m.Name); err != nil {
						return found, err
					}
					continue
				}
				ours, err := r.leftBehind(ctx, p.Group, p.Target, m.Name)
				if err != nil {
					return found, err
				}
				if !ours {
					continue // somebody else's: creating the machine is refused
				}
				if _, ok := d.(opens); !ok {
					return found, dr.WithHint(fmt.Errorf("machine %s exists at %s, and the disks of machines there cannot be written", m.Name, p.Target), dr.KindConflict,
						"remove or rename it there: a new one is then created")
				}
				if _, err := r.o.Store.ChangeOriginal(ctx, p.Target, m.Name, func(o *store.Original) error { o.Group = p.Group; return nil }); err != nil {
					return found, err
				}
				found.Names = append(found.Names, m.Name)
			}
			say.Say("%d of %d", len(found.Names), len(p.Machines))
			return found, nil
		}})
}

// leftBehind reports whether a machine of a site is one that the group left there.
func (r *Recovery) leftBehind(ctx context.Context, group, siteName, machine string) (bool, error) {
	o, ok, err := r.o.Store.Original(ctx, siteName, machine)
	if err != nil || ok && o.Group == group {
		return err == nil, err
	}
	f, ok, err := r.o.Store.Fence(ctx, siteName, machine)
	return ok && f.Group == group, err
}

// renew brings originals to a recovery point, all at the same time.
func (r *Recovery) renew(run *engine.Run, p Input, point string, machines []dr.MachinePolicy, prefix string) ([]OriginalResult, error) {
	return each(run, machines, func(m dr.MachinePolicy) engine.Step[OriginalResult] {
		return engine.Step[OriginalResult]{Name: prefix + "update " + m.Name, Title: fmt.Sprintf("bring the disks of %s at %s to point %s", m.Name, p.Target, point),
			Options: engine.StepOptions{Stall: hydrateStall, Retries: 3},
			Do: func(ctx context.Context, say *engine.Progress) (OriginalResult, error) {
				res, err := r.update(ctx, p, m.Name, point, say)
				if err != nil {
					return res, fmt.Errorf("bring %s at %s to point %s: %w", m.Name, p.Target, point, err)
				}
				return res, nil
			}}
	})
}

// update brings one original to a recovery point. The order of its records makes any of them the last one of a process:
// what the disks may hold is always between Base and the points in Toward.
func (r *Recovery) update(ctx context.Context, p Input, machine, point string, say *engine.Progress) (OriginalResult, error) {
	res := OriginalResult{Machine: machine, Site: p.Target}
	d, err := r.o.Sites(ctx, p.Target)
	if err != nil {
		return res, err
	}
	disks, ok := d.(opens)
	if !ok {
		return res, dr.WithHint(errors.New("the site cannot write the disks of stopped machines"), dr.KindConflict, "")
	}
	if err := r.holdAt(ctx, p, p.Target, machine); err != nil {
		return res, err
	}
	row, _, err := r.o.Store.Original(ctx, p.Target, machine)
	if err != nil {
		return res, err
	}
	if res.Base = row.Base; row.Base == point && len(row.Toward) == 0 {
		res.Point = point
		say.Say("they are at it")
		return res, nil
	}
	v, err := r.o.Vaults(ctx, p.Vault)
	if err != nil {
		return res, err
	}
	opened, err := v.OpenPoint(ctx, p.Group, point)
	if err != nil {
		return res, err
	}
	defer opened.Close() // what was read is verified; nothing is lost by an error of a pin
	var want dr.Machine
	for _, m := range opened.Machines() {
		if m.Name == machine {
			want = m
		}
	}
	jobs, err := r.jobs(ctx, v, opened, p, row, want)
	if err != nil {
		return res, err
	}
	if row, err = r.o.Store.ChangeOriginal(ctx, p.Target, machine, func(o *store.Original) error {
		o.Group = p.Group
		if !o.Preserved {
			o.Preserved, o.Kept = true, o.Base
		}
		if !slices.Contains(o.Toward, point) {
			o.Toward = append(o.Toward, point)
		}
		return nil
	}); err != nil {
		return res, err
	}
	if err := disks.Preserve(ctx, machine); err != nil {
		return res, fmt.Errorf("keep what it holds: %w", err)
	}
	if res.Stats, err = copyAll(ctx, disks, machine, jobs, &res.Base, say); err != nil {
		return res, err
	}
	_, err = r.o.Store.ChangeOriginal(ctx, p.Target, machine, func(o *store.Original) error {
		o.Base, o.Toward = point, nil
		return nil
	})
	res.Point = point
	switch {
	case res.Base == "":
		say.Say("%d of %d bytes differed; everything was compared", res.Differ, res.Total)
	case res.Total == 0:
		say.Say("nothing changed since point %s", res.Base)
	default:
		say.Say("%d of %d bytes that may have changed since point %s differed", res.Differ, res.Total, res.Base)
	}
	return res, err
}

// A diskJob is one disk of an original to bring to a point.
type diskJob struct {
	name   string
	source transfer.Source
	ranges []dr.Extent // nil: everything
}

// jobs says what of each disk has to be looked at.
func (r *Recovery) jobs(ctx context.Context, v Vault, opened *vault.Point, p Input, row store.Original, want dr.Machine) ([]diskJob, error) {
	between := map[dr.DiskID][]dr.Extent{}
	known := row.Base != ""
	if known {
		for _, to := range append(slices.Clone(row.Toward), opened.Info().ID) {
			changed, full, err := v.ChangedBetween(ctx, p.Group, row.Base, to)
			if dr.KindOf(err) == dr.KindNotFound || full {
				known = false // one of the points is gone by now
				break
			}
			if err != nil {
				return nil, err
			}
			for id, list := range changed {
				between[id] = merge(between[id], list)
			}
		}
	}
	var out []diskJob
	for _, disk := range want.Disks {
		if disk.Role != dr.RoleDisk {
			continue // the original has its own kernel
		}
		id := dr.DiskID{Machine: want.Name, Disk: disk.Name}
		source, err := opened.Disk(id)
		if err != nil {
			return nil, err
		}
		job := diskJob{name: disk.Name, source: pointDisk{source}}
		if list, ok := between[id]; known && ok {
			job.ranges = list
			if list == nil {
				job.ranges = []dr.Extent{}
			}
			job.ranges = within(job.ranges, source.Size())
		}
		out = append(out, job)
	}
	return out, nil
}

// copyAll writes what differs on each disk. Where the disks are thought to be at base, a sample outside of what may have
// changed is looked at first: when that differs somebody wrote to them, base is emptied and everything is compared.
func copyAll(ctx context.Context, site opens, machine string, jobs []diskJob, base *string, say *engine.Progress) (sum transfer.Stats, err error) {
	var done, total int64
	targets := make([]interface {
		transfer.Target
		Close() error
	}, len(jobs))
	defer func() {
		for _, t := range targets {
			if t != nil {
				err = errors.Join(err, t.Close())
			}
		}
	}()
	trusted := *base != ""
	for i, j := range jobs {
		t, err := site.OpenDisk(ctx, machine, j.name, true)
		if err != nil {
			return sum, err
		}
		targets[i] = t
		if t.Size() != j.source.Size() {
			return sum, dr.WithHint(fmt.Errorf("disk %s/%s has %d bytes there, %d in the recovery point", machine, j.name, t.Size(), j.source.Size()), dr.KindConflict,
				"give the disk the same size there, or remove that machine: a new one is then created")
		}
		if j.ranges == nil {
			trusted = false
		}
		if trusted {
			st, err := transfer.Copy(ctx, transfer.Job{Source: j.source, Target: t, Ranges: sample(outside(j.ranges, j.source.Size()), sampleBytes), Compare: true, DryRun: true})
			if err != nil {
				return sum, err
			}
			trusted = st.Differ == 0
		}
	}
	for i := range jobs {
		if !trusted {
			*base, jobs[i].ranges = "", nil
		}
		total += lookedAt(jobs[i])
	}
	for i, j := range jobs {
		st, err := transfer.Copy(ctx, transfer.Job{Source: j.source, Target: targets[i], Ranges: j.ranges, Compare: true,
			Progress: func(n, _ int64) { say.Bytes(done+n, total) }})
		if err != nil {
			return sum, fmt.Errorf("disk %s: %w", j.name, err)
		}
		done += lookedAt(j)
		sum = sum.Add(st)
	}
	return sum, nil
}

func lookedAt(j diskJob) (n int64) {
	if j.ranges == nil {
		return j.source.Size()
	}
	for _, e := range j.ranges {
		n += e.Length
	}
	return n
}

// holdAt stops a machine and holds it, and records that.
func (r *Recovery) holdAt(ctx context.Context, p Input, siteName, machine string) error {
	free, err := r.fencing.take(ctx, siteName, machine)
	if err != nil {
		return err
	}
	defer free()
	d, err := r.o.Sites(ctx, siteName)
	if err != nil {
		return err
	}
	if err := d.Fence(ctx, machine, true, heldReason); err != nil {
		return err
	}
	return r.recordFenceAt(ctx, p, siteName, machine, nil)
}

// release lets the machines of the group run at the target again: nothing there counts as left behind any more.
func (r *Recovery) release(run *engine.Run, p Input) error {
	_, err := each(run, p.Machines, func(m dr.MachinePolicy) engine.Step[none] {
		return engine.Step[none]{Name: "release " + m.Name, Title: fmt.Sprintf("let %s run at %s", m.Name, p.Target),
			Options: engine.StepOptions{Timeout: startTimeout, Retries: 3},
			Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
				return none{}, r.releaseAt(ctx, p.Target, m.Name)
			}}
	})
	return err
}

func (r *Recovery) releaseAt(ctx context.Context, siteName, machine string) error {
	// Reconcile must not hold again what is released.
	free, err := r.fencing.take(ctx, siteName, machine)
	if err != nil {
		return err
	}
	defer free()
	_, original, err := r.o.Store.Original(ctx, siteName, machine)
	if err != nil {
		return err
	}
	if original {
		// It runs from here on: its disks are at no point.
		if _, err := r.o.Store.ChangeOriginal(ctx, siteName, machine, func(o *store.Original) error { o.Base, o.Toward = "", nil; return nil }); err != nil {
			return err
		}
	}
	if err := r.o.Store.DeleteFence(ctx, siteName, machine); err != nil || !original {
		return err
	}
	d, err := r.o.Sites(ctx, siteName)
	if err != nil {
		return err
	}
	return d.Fence(ctx, machine, false, "")
}

// stayed records that the source's machines, stopped by now, are exactly at a point.
func (r *Recovery) stayed(ctx context.Context, p Input, point string) error {
	for _, m := range p.Machines {
		if _, err := r.o.Store.ChangeOriginal(ctx, p.Source, m.Name, func(o *store.Original) error {
			o.Group, o.Base, o.Toward = p.Group, point, nil
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// accept makes what originals at the target hold theirs for good.
func (r *Recovery) accept(run *engine.Run, of Input) error {
	_, err := each(run, of.Machines, func(m dr.MachinePolicy) engine.Step[none] {
		return engine.Step[none]{Name: "keep " + m.Name, Title: fmt.Sprintf("let go of what %s held at %s before", m.Name, of.Target),
			Options: engine.StepOptions{Retries: 5, Backoff: time.Second},
			Do: func(ctx context.Context, _ *engine.Progress) (none, error) {
				return none{}, r.settleOriginal(ctx, of.Group, of.Target, m.Name, true)
			}}
	})
	return err
}

// settleOriginal ends that an original's former content is kept: it is given up (accept), or comes back.
func (r *Recovery) settleOriginal(ctx context.Context, group, siteName, machine string, accept bool) error {
	o, ok, err := r.o.Store.Original(ctx, siteName, machine)
	if err != nil || !ok || o.Group != group {
		return err
	}
	if o.Preserved {
		d, err := r.o.Sites(ctx, siteName)
		if err != nil {
			return err
		}
		if !accept {
			if _, err := r.o.Store.ChangeOriginal(ctx, siteName, machine, func(o *store.Original) error { o.Base, o.Toward = "", nil; return nil }); err != nil {
				return err
			}
		}
		if disks, ok := d.(opens); ok {
			if err := disks.Settle(ctx, machine, accept); err != nil && dr.KindOf(err) != dr.KindNotFound {
				return err
			}
		}
	}
	if accept {
		return r.o.Store.DeleteOriginal(ctx, siteName, machine)
	}
	_, err = r.o.Store.ChangeOriginal(ctx, siteName, machine, func(o *store.Original) error {
		if o.Preserved {
			o.Base = o.Kept
		}
		o.Preserved, o.Kept = false, ""
		return nil
	})
	return err
}

// Abandon lets go of what a group that is no longer protected left behind. Machines stay held, with the content that
// they had when the group went away; what cannot be reached now is seen to when it can.
func (r *Recovery) Abandon(ctx context.Context, group string) error {
	rows, err := r.o.Store.Originals(ctx, group)
	if err != nil {
		return err
	}
	g, err := r.o.Store.Group(ctx, group)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		return err
	}
	for _, o := range rows {
		// What runs keeps what it wrote.
		err := r.settleOriginal(ctx, group, o.Site, o.Machine, o.Site == g.Site)
		if kind := dr.KindOf(err); kind == dr.KindUnavailable || kind == dr.KindNotFound {
			r.o.Logger.Warn("let go of an original later", "site", o.Site, "machine", o.Machine, "error", err)
			continue
		}
		if err == nil {
			err = r.o.Store.DeleteOriginal(ctx, o.Site, o.Machine)
		}
		if err != nil {
			return fmt.Errorf("let go of %s at %s: %w", o.Machine, o.Site, err)
		}
	}
	fences, err := r.o.Store.Fences(ctx, group)
	for _, f := range fences {
		err = errors.Join(err, r.o.Store.DeleteFence(ctx, f.Site, f.Machine))
	}
	return err
}
