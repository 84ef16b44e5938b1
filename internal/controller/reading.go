package controller

import (
	"context"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/recovery"
)

// Bounds of how long a disk of a recovery point is served.
const (
	serveLeast = time.Minute
	serveMost  = 24 * time.Hour
)

// PointMachines returns the machines of a recovery point as they were described at its instant.
func (c *Controller) PointMachines(ctx context.Context, group, point string) ([]dr.Machine, error) {
	g, err := c.store.Group(ctx, group)
	if err != nil {
		return nil, err
	}
	p, err := c.recovery.OpenPoint(ctx, g.Vault, group, point)
	if err != nil {
		return nil, err
	}
	return p.Machines(), p.Close()
}

// ReadPoint opens a disk of a recovery point for one who reads it; it is closed afterwards. The vault is that of the group.
func (c *Controller) ReadPoint(ctx context.Context, q recovery.PointDisk) (*recovery.Reading, error) {
	g, err := c.store.Group(ctx, q.Group)
	if err != nil {
		return nil, err
	}
	q.Vault = g.Vault
	return c.recovery.ReadPoint(ctx, q)
}

// ServePoint serves a disk of a recovery point over NBD on this machine, for a time. It returns the disk's size, too.
func (c *Controller) ServePoint(ctx context.Context, q recovery.PointDisk, ttl time.Duration) (grant.Grant, int64, error) {
	if ttl < serveLeast || ttl > serveMost {
		return grant.Grant{}, 0, dr.WithHint(fmt.Errorf("serve %s for %s", q.Disk, dr.FormatDuration(ttl)), dr.KindInvalid, "between 1m and 24h")
	}
	g, err := c.store.Group(ctx, q.Group)
	if err != nil {
		return grant.Grant{}, 0, err
	}
	q.Vault = g.Vault
	return c.recovery.ServePoint(ctx, q, ttl)
}
