package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"understudy/internal/api/wire"
)

// Plans lists the plans of a group, or all when group is empty.
func (c *Client) Plans(ctx context.Context, group string) (list []wire.Plan, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/plans?"+url.Values{"group": {group}}.Encode(), nil, &list)
}

// Plan shows a version of a plan; version 0 is the newest.
func (c *Client) Plan(ctx context.Context, name string, version int) (v wire.PlanDetail, err error) {
	return v, c.do(ctx, http.MethodGet, path("plans", name)+"?version="+strconv.Itoa(version), nil, &v)
}

// ApplyPlan saves a plan.
func (c *Client) ApplyPlan(ctx context.Context, in wire.PlanText) (v wire.Plan, err error) {
	return v, c.do(ctx, http.MethodPut, "/v1/plans", in, &v)
}

// CheckPlan checks a plan without saving it.
func (c *Client) CheckPlan(ctx context.Context, in wire.PlanText) (v wire.PlanCheck, err error) {
	return v, c.do(ctx, http.MethodPost, "/v1/plan-checks", in, &v)
}

// PlanHistory shows the versions of a plan and its runs.
func (c *Client) PlanHistory(ctx context.Context, name string) (v wire.PlanHistory, err error) {
	return v, c.do(ctx, http.MethodGet, path("plans", name, "history"), nil, &v)
}

// DeletePlan removes a plan.
func (c *Client) DeletePlan(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("plans", name), nil, nil)
}

// RunPlan begins a run of a plan.
func (c *Client) RunPlan(ctx context.Context, name string, in wire.RunPlan) (v wire.Run, err error) {
	return v, c.do(ctx, http.MethodPost, path("plans", name, "run"), in, &v)
}

// Question tells what a run asks now; dr.KindNotFound when it asks nothing.
func (c *Client) Question(ctx context.Context, run string) (v wire.Question, err error) {
	return v, c.do(ctx, http.MethodGet, path("runs", run, "question"), nil, &v)
}

// Answer answers what a run asks.
func (c *Client) Answer(ctx context.Context, run string, in wire.Answer) (v wire.Question, err error) {
	return v, c.do(ctx, http.MethodPost, path("runs", run, "answer"), in, &v)
}
