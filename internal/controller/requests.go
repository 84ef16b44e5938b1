package controller

import (
	"context"

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
