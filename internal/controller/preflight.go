package controller

import (
	"context"

	"understudy/internal/recovery"
)

// Preflight looks into disks, and says whether machines would start at a site.
func (c *Controller) Preflight(ctx context.Context, q recovery.PreflightQuery) (recovery.Preflight, error) {
	return c.recovery.Preflight(ctx, q)
}

// PreviewCalls says which requests a failover would send to providers that tell.
func (c *Controller) PreviewCalls(ctx context.Context, q recovery.Request) ([]recovery.SiteCall, error) {
	return c.recovery.PreviewCalls(ctx, q)
}
