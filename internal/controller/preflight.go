package controller

import (
	"context"

	"understudy/internal/recovery"
)

// Preflight looks into disks, and says whether machines would start at a site.
func (c *Controller) Preflight(ctx context.Context, q recovery.PreflightQuery) (recovery.Preflight, error) {
	return c.recovery.Preflight(ctx, q)
}
