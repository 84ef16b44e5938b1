package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/preflight"
	"understudy/internal/site"
)

// preflightTimeout bounds how long a preview looks into disks.
const preflightTimeout = time.Minute

// A PreflightQuery asks whether machines would start at another site.
type PreflightQuery struct {
	// Group and Point name a recovery point whose disks are looked into; the newest when Point is empty.
	Group string
	Point string
	// Site is where a stopped machine is that is looked into, instead of a group.
	Site    string
	Machine string // of the group: only that one; else all
	Target  string // the group's when empty
}

// A Preflight is what was found.
type Preflight struct {
	Target string
	Point  dr.RecoveryPoint // of a group
	Checks []preflight.Check
}

// Preflight looks into the disks of machines, and says whether they would start at a site. It changes nothing.
func (r *Recovery) Preflight(ctx context.Context, q PreflightQuery) (Preflight, error) {
	fail := func(err error) (Preflight, error) {
		return Preflight{}, fmt.Errorf("preflight of %s: %w", cmp.Or(q.Group, q.Machine), err)
	}
	vaultName := ""
	if q.Group != "" {
		g, err := r.o.Store.Group(ctx, q.Group)
		if err != nil {
			return fail(err)
		}
		vaultName, q.Target = g.Vault, cmp.Or(q.Target, g.Target)
	}
	platform, err := r.platform(ctx, q.Target)
	if err != nil {
		return fail(err)
	}
	if platform == nil {
		return fail(dr.WithHint(fmt.Errorf("site %s does not say what its hardware is", q.Target), dr.KindInvalid, "name a site that runs machines: --target SITE"))
	}
	res := Preflight{Target: q.Target}
	if q.Group == "" {
		res.Checks, err = r.examineStopped(ctx, *platform, q.Site, q.Machine)
	} else {
		res.Point, res.Checks, err = r.examinePoint(ctx, *platform, vaultName, q.Group, cmp.Or(q.Point, "latest"), q.Machine, false)
	}
	if err != nil {
		return fail(err)
	}
	return res, nil
}

// platform is that of a site; nil when it tells none.
func (r *Recovery) platform(ctx context.Context, name string) (*site.Platform, error) {
	d, err := r.o.Sites(ctx, name)
	if err != nil {
		return nil, err
	}
	if p, ok := d.(site.Platformer); ok {
		platform := p.Platform()
		return &platform, nil
	}
	return nil, nil
}

// examinePoint looks into a recovery point: at one machine or all; abroad leaves out those that were at a site of the
// same provider.
func (r *Recovery) examinePoint(ctx context.Context, p site.Platform, vaultName, group, sel, machine string, abroad bool) (dr.RecoveryPoint, []preflight.Check, error) {
	v, err := r.o.Vaults(ctx, vaultName)
	if err != nil {
		return dr.RecoveryPoint{}, nil, err
	}
	found, err := v.FindPoint(ctx, group, sel)
	if err != nil {
		return found, nil, err
	}
	point, err := v.OpenPoint(ctx, group, found.ID)
	if err != nil {
		return found, nil, err
	}
	var checks []preflight.Check
	known := false
	for _, m := range point.Machines() {
		if machine != "" && m.Name != machine {
			continue
		}
		known = true
		if abroad && (m.Provider == "" || m.Provider == p.Provider) {
			continue
		}
		var disks []preflight.Disk
		for _, d := range m.Disks {
			if d.Role != dr.RoleDisk {
				continue
			}
			disk, err := point.Disk(dr.DiskID{Machine: m.Name, Disk: d.Name})
			if err != nil {
				return found, nil, errors.Join(err, point.Close())
			}
			disks = append(disks, preflight.Disk{Name: d.Name, ReaderAt: bounded{ctx, disk}, Size: disk.Size()})
		}
		checks = append(checks, preflight.Examine(ctx, p, m, disks)...)
	}
	if machine != "" && !known {
		err = dr.WithHint(fmt.Errorf("point %s does not hold machine %s", found.ID, machine), dr.KindNotFound, "understudy points list "+group)
	}
	return found, checks, errors.Join(err, point.Close(), context.Cause(ctx))
}

// examineStopped looks into a stopped machine of a site.
func (r *Recovery) examineStopped(ctx context.Context, p site.Platform, at, name string) ([]preflight.Check, error) {
	d, err := r.o.Sites(ctx, at)
	if err != nil {
		return nil, err
	}
	list, err := d.Machines(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(m dr.Machine) bool { return m.Name == name })
	opener, ok := d.(site.DiskOpener)
	switch {
	case i < 0:
		return nil, dr.WithHint(fmt.Errorf("site %s has no machine %s", at, name), dr.KindNotFound, "understudy machine list --site "+at)
	case !ok:
		return nil, dr.WithHint(fmt.Errorf("disks of machines at %s cannot be opened", at), dr.KindInvalid, "look at a recovery point: understudy preflight GROUP")
	case list[i].Power != dr.PowerOff:
		return []preflight.Check{{Machine: name, Name: preflight.CheckSystem, State: preflight.Unknown, Message: "the machine runs, and its disks are not looked into",
			Remedy: "stop it, or protect it and look at a recovery point: understudy preflight GROUP --target SITE"}}, nil
	}
	var disks []preflight.Disk
	var opened []io.Closer
	for _, one := range list[i].Disks {
		if one.Role != dr.RoleDisk {
			continue
		}
		var disk site.Disk
		if disk, err = opener.OpenDisk(ctx, name, one.Name, false); err != nil {
			break
		}
		opened = append(opened, disk)
		disks = append(disks, preflight.Disk{Name: one.Name, ReaderAt: bounded{ctx, disk}, Size: disk.Size()})
	}
	var checks []preflight.Check
	if err == nil {
		checks = preflight.Examine(ctx, p, list[i], disks)
		err = context.Cause(ctx)
	}
	for _, c := range opened {
		err = errors.Join(err, c.Close())
	}
	return checks, err
}

// bounded is a disk that is read until a context ends.
type bounded struct {
	ctx context.Context
	io.ReaderAt
}

func (b bounded) ReadAt(p []byte, off int64) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	return b.ReaderAt.ReadAt(p, off)
}

// previewChecks looks into the disks of machines that would start at a site of another provider than theirs.
func (r *Recovery) previewChecks(ctx context.Context, p Input, v *Preview) error {
	bounded, stop := context.WithTimeout(ctx, preflightTimeout)
	defer stop()
	platform, err := r.platform(bounded, p.Target)
	if err == nil && platform != nil {
		_, v.Checks, err = r.examinePoint(bounded, *platform, p.Vault, p.Group, v.Point.ID, "", true)
	}
	if err != nil && ctx.Err() == nil {
		v.Warnings = append(v.Warnings, fmt.Sprintf("the disks could not be looked into: %v", err))
		return nil
	}
	return ctx.Err()
}
