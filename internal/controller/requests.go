package controller

import (
	"context"

	"understudy/internal/history"
	"understudy/internal/store"
)

// BeginRequest records that a request with a key is being done.
func (c *Controller) BeginRequest(ctx context.Context, k store.RequestKey, digest [32]byte) (store.Request, bool, error) {
	return c.store.BeginRequest(ctx, k, digest)
}

// EndRequest keeps the answer to a request.
func (c *Controller) EndRequest(ctx context.Context, r store.Request) error {
	return c.store.EndRequest(ctx, r)
}

// ForgetRequest forgets a request that was not done.
func (c *Controller) ForgetRequest(ctx context.Context, k store.RequestKey) error {
	return c.store.ForgetRequest(ctx, k)
}

// RunCounts counts the runs that have ended.
func (c *Controller) RunCounts(ctx context.Context) ([]store.RunCount, error) {
	return c.store.RunCounts(ctx)
}

// LastRuns returns the newest runs of every kind and group that have ended.
func (c *Controller) LastRuns(ctx context.Context) ([]store.Run, error) {
	return c.store.LastRuns(ctx)
}

// CycleTotals is what the cycles of every group did since the controller started.
func (c *Controller) CycleTotals() map[string]history.Sample { return c.history.Totals() }

// VaultUsages is what is known of how full the vaults are, by name.
func (c *Controller) VaultUsages(ctx context.Context) (map[string]VaultUsage, error) {
	list, err := c.store.Vaults(ctx)
	known := map[string]VaultUsage{}
	for _, v := range list {
		known[v.Name], _ = c.usage(ctx, v.Name)
	}
	return known, err
}
