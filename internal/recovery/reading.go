package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/vault"
)

// A PointDisk names a disk of a recovery point, which is found as vault.FindPoint does.
type PointDisk struct {
	Group, Vault, Point string
	Disk                dr.DiskID
	By                  string // who reads it
}

// A Reading is a disk of a recovery point that somebody reads, by a grant that lasts as long. It ends when that is revoked.
type Reading struct {
	Point dr.RecoveryPoint
	Grant string // its ID
	*vault.Disk

	ctx    context.Context // ends with the reading, by what ended it
	grants *grant.Manager
	close  func() error
}

// ReadAt implements io.ReaderAt. It fails from when the reading has ended.
func (r *Reading) ReadAt(p []byte, off int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if err := r.grants.Why(r.ctx, r.Grant); err != nil {
		return 0, err
	}
	return r.Disk.ReadAt(p, off)
}

// Close gives the grant back.
func (r *Reading) Close() error { return r.close() }

// ReadPoint opens a disk of a recovery point for one who reads it until Close or until ctx ends.
func (r *Recovery) ReadPoint(ctx context.Context, q PointDisk) (*Reading, error) {
	p, disk, err := r.openDisk(ctx, q)
	if err != nil {
		return nil, err
	}
	g, err := r.grants.Issue(ctx, grant.Request{Disk: q.name(p.Info()), Access: grant.Read, TTL: r.o.GrantTTL, By: q.By}, disk)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	reading, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { r.renewGrant(reading, g.ID, r.o.GrantTTL, cancel) })
	return &Reading{Point: p.Info(), Grant: g.ID, Disk: disk, ctx: reading, grants: r.grants, close: sync.OnceValue(func() error {
		cancel(errors.New("the reading has ended"))
		renewing.Wait()
		return errors.Join(r.grants.Release(context.WithoutCancel(ctx), g.ID), p.Close())
	})}, nil
}

// ServePoint grants reading a disk of a recovery point over NBD, for a time that is not prolonged. The point stays open until
// the grant has ended.
func (r *Recovery) ServePoint(ctx context.Context, q PointDisk, ttl time.Duration) (grant.Grant, int64, error) {
	p, disk, err := r.openDisk(ctx, q)
	if err != nil {
		return grant.Grant{}, 0, err
	}
	g, err := r.grants.Issue(ctx, grant.Request{Disk: q.name(p.Info()), Access: grant.Read, TTL: ttl, By: q.By, Ended: func() {
		if err := p.Close(); err != nil {
			r.o.Logger.Error("close recovery point", "group", q.Group, "point", p.Info().ID, "error", err)
		}
	}}, disk)
	if err != nil {
		return g, 0, errors.Join(err, p.Close())
	}
	return g, disk.Size(), nil
}

// name is the disk's in grants.
func (q PointDisk) name(p dr.RecoveryPoint) string {
	return fmt.Sprintf("%s@%s/%s", q.Group, p.ID, q.Disk)
}

// GrantedGroup is the group of a disk that a grant names, when it is one of a recovery point.
func GrantedGroup(disk string) string {
	at, _, _ := strings.Cut(disk, "/")
	group, _, ok := strings.Cut(at, "@")
	if !ok {
		return ""
	}
	return group
}

// GrantedSite is the site of a disk that a grant names, when it is one of a machine.
func GrantedSite(disk string) string {
	if GrantedGroup(disk) != "" {
		return ""
	}
	site, _, _ := strings.Cut(disk, "/")
	return site
}

func (r *Recovery) openDisk(ctx context.Context, q PointDisk) (*vault.Point, *vault.Disk, error) {
	p, err := r.OpenPoint(ctx, q.Vault, q.Group, q.Point)
	if err != nil {
		return nil, nil, err
	}
	disk, err := p.Disk(q.Disk)
	if err != nil {
		return nil, nil, errors.Join(dr.WithHint(err, dr.KindNotFound, "its disks: "+diskNames(p.Machines())), p.Close())
	}
	return p, disk, nil
}

// OpenPoint opens a recovery point, found as vault.FindPoint does.
func (r *Recovery) OpenPoint(ctx context.Context, vaultName, group, selector string) (*vault.Point, error) {
	v, err := r.o.Vaults(ctx, vaultName)
	if err != nil {
		return nil, err
	}
	found, err := v.FindPoint(ctx, group, selector)
	if err != nil {
		return nil, err
	}
	return v.OpenPoint(ctx, group, found.ID)
}

func diskNames(machines []dr.Machine) string {
	var names []string
	for _, m := range machines {
		for _, d := range m.Disks {
			names = append(names, m.Name+"/"+d.Name)
		}
	}
	return strings.Join(names, ", ")
}
